"""Folders of pictures: how they are listed, and what batches are made of them."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from niwaki.errors import BadInput
from niwaki.vision import imagenet
from niwaki.vision.imagenet import MEAN, STD, FolderBatches, Listing
from niwaki.vision.images import Normaliser
from niwaki.vision.pictures import coloured
from tests.vision.real import real

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def fill(folder: Path, classes: dict[str, int]) -> Path:
    """Pictures of noise, each of another size."""
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for k in range(count):
            pixels = np.random.default_rng([number, k]).integers(0, 256, (40 + k, 50 + number, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{k:02}.png")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Listing:
    return imagenet.listing(fill(tmp_path / "train", {"cat": 3, "ant": 2, "bee": 4}))


def same(one, other) -> bool:
    return all(torch.equal(x, v) and torch.equal(y, w) for (x, y), (v, w) in zip(one, other, strict=True))


# Listing.


def test_classes_are_the_sorted_names_of_the_folders(pictures: Listing) -> None:
    assert pictures.classes == ("ant", "bee", "cat")
    assert pictures.labels == (0, 0, 1, 1, 1, 1, 2, 2, 2)
    assert [(f.parent.name, f.name) for f in pictures.files[:3]] == [
        ("ant", "00.png"),
        ("ant", "01.png"),
        ("bee", "00.png"),
    ]
    assert len(pictures) == 9


def test_files_that_are_no_pictures_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"ant": 1})
    (tmp_path / "train" / "ant" / "notes.txt").write_text("none")
    (tmp_path / "train" / "list.csv").write_text("none")
    (tmp_path / "train" / "ant" / "more.JPEG").touch()
    assert [f.name for f in imagenet.listing(tmp_path / "train").files] == ["00.png", "more.JPEG"]


@pytest.mark.parametrize("parts", [("train",), ("val",), ("train", "val")])
def test_both_parts_or_one_of_them(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        fill(tmp_path / part, {"ant": 1, "bee": 1})
    found = imagenet.read(str(tmp_path))
    assert (found.train is not None, found.val is not None) == ("train" in parts, "val" in parts)


def test_a_folder_with_neither(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither a folder train nor a folder val"):
        imagenet.read(tmp_path)


def test_parts_with_different_classes(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"ant": 1, "bee": 1})
    fill(tmp_path / "val", {"ant": 1, "cat": 1})
    with pytest.raises(BadInput, match="different classes: bee, cat in one of them only"):
        imagenet.read(tmp_path)


def test_no_class_folders_and_empty_ones(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no class folders"):
        imagenet.listing(tmp_path)
    with pytest.raises(BadInput, match="no class folders"):
        imagenet.listing(tmp_path / "nowhere")
    (tmp_path / "ant").mkdir()
    with pytest.raises(BadInput, match=r"ant has no picture \(\.bmp, \.jpeg"):
        imagenet.listing(tmp_path)


# Batches.


def test_a_training_epoch_has_every_picture_at_most_once(pictures: Listing) -> None:
    batches = FolderBatches(pictures, 2, side=16)
    keys = [number for batch in batches._order for number, _ in batch]
    assert len(batches) == 4
    assert len(set(keys)) == len(keys) == 8
    assert keys != sorted(keys)
    labels = [int(y) for _, ys in batches for y in ys]
    assert labels == [pictures.labels[number] for number in keys]


def test_shapes_types_and_layout(pictures: Listing) -> None:
    x, y = next(iter(FolderBatches(pictures, 3, side=16)))
    assert (x.shape, x.dtype, y.dtype) == ((3, 3, 16, 16), torch.float32, torch.int64)
    assert x.is_contiguous()
    low, _ = next(iter(FolderBatches(pictures, 3, side=16, dtype=torch.bfloat16, channels_last=True)))
    assert low.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(low, x.bfloat16())


def test_an_epoch_depends_on_seed_and_epoch_alone(pictures: Listing) -> None:
    torch.manual_seed(0)
    one = FolderBatches(pictures, 3, seed=5, side=16)
    first, second = list(one), list(one)
    torch.manual_seed(1)
    resumed = FolderBatches(pictures, 3, seed=5, side=16)
    assert same(first, resumed)
    assert not same(first, second)
    resumed.epoch = 1
    assert same(second, resumed)
    assert not same(first, FolderBatches(pictures, 3, seed=8, side=16))


def test_windows_are_of_the_area_asked_for(pictures: Listing) -> None:
    unsaid, usual, asked = (
        list(FolderBatches(pictures, 3, side=16, **said)) for said in ({}, {"area": (0.08, 1.0)}, {"area": (0.9, 1.0)})
    )  # each in its first epoch: a second one has other windows anyhow
    assert same(unsaid, usual)
    assert not same(unsaid, asked)


@pytest.mark.parametrize("area", [(0.0, 1.0), (0.5, 0.2), (0.5, 1.1), (0.5,)])
def test_no_such_area(pictures: Listing, area: tuple[float, ...]) -> None:
    with pytest.raises(BadInput, match=r"above 0 and up to 1, such as \(0.08"):
        FolderBatches(pictures, 3, side=16, area=area)


def test_a_picture_is_seen_through_another_window_in_each_epoch(tmp_path: Path) -> None:
    batches = FolderBatches(imagenet.listing(fill(tmp_path, {"ant": 1})), 1, side=16)
    views = [next(iter(batches))[0] for _ in range(5)]
    assert all(not torch.equal(views[0], view) for view in views[1:])


def test_the_global_generator_is_left_alone(pictures: Listing) -> None:
    torch.manual_seed(0)
    list(FolderBatches(pictures, 3, side=16))
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_make_the_same_batches_in_every_epoch(pictures: Listing) -> None:
    alone, helped = FolderBatches(pictures, 3, side=16), FolderBatches(pictures, 3, side=16, workers=1)
    for _ in range(2):
        assert same(alone, helped)


def test_a_test_epoch_is_every_picture_in_order_and_alike_each_time(pictures: Listing) -> None:
    batches = FolderBatches(pictures, 4, training=False, side=16)
    first = list(batches)
    assert [y.tolist() for _, y in first] == [[0, 0, 1, 1], [1, 1, 2, 2], [2]]
    assert len(batches) == 3
    assert same(first, batches)


def test_the_test_view_is_the_middle_of_the_scaled_picture(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    (tmp_path / "ant").mkdir()
    Image.fromarray(pixels).save(tmp_path / "ant" / "a.png")  # its shorter side is 8/7 of 14 already
    ((x, _),) = FolderBatches(imagenet.listing(tmp_path), 1, training=False, side=14)
    middle = torch.from_numpy(pixels[1:15, 3:17].copy()).permute(2, 0, 1)[None]
    assert torch.equal(x, Normaliser(MEAN, STD)(middle))


def seen(folder: Path) -> torch.Tensor:
    """The pixels of the one picture in a folder, 3 x 14 x 14, as they are before they are normalised."""
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    ((x, _),) = FolderBatches(imagenet.listing(folder), 1, training=False, side=14, **plain)
    return (x[0] * 255).round().int()


def flat(mode: str, colour: object, **info: object) -> tuple[object, dict[str, object]]:
    return Image.new(mode, (20, 20), colour), info


COLOURS = {
    "grey": (flat("L", 90), (90, 90, 90)),
    "black and white": (flat("1", 1), (255, 255, 255)),
    "a palette": (flat("P", 7), (7, 7, 7)),
    "16 bits of grey": (flat("I;16", 3000), (12, 12, 12)),
    "16 bits, white": (flat("I;16", 65_535), (255, 255, 255)),
    "whole": (flat("RGBA", (200, 100, 50, 255)), (200, 100, 50)),
    "half transparent": (flat("RGBA", (200, 100, 50, 128)), (100, 50, 25)),
    "hidden": (flat("RGBA", (255, 0, 0, 0)), (0, 0, 0)),
    "hidden grey": (flat("LA", (255, 0)), (0, 0, 0)),
    "a hidden colour of a palette": (flat("P", 7, transparency=7), (0, 0, 0)),
    "a hidden colour": (flat("RGB", (9, 8, 7), transparency=(9, 8, 7)), (0, 0, 0)),
}


@pytest.mark.parametrize("case", COLOURS)
def test_pictures_of_all_kinds_become_coloured_ones(case: str, tmp_path: Path) -> None:
    (picture, info), colour = COLOURS[case]
    (tmp_path / "ant").mkdir()
    if picture.mode == "P":
        picture.putpalette([k for level in range(256) for k in (level, level, level)])
    picture.save(tmp_path / "ant" / "a.png", **info)
    found = seen(tmp_path).flatten(1)
    assert (found == torch.tensor(colour)[:, None]).all(), found[:, 0]


def test_printing_colours_are_mixed(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(tmp_path / "ant" / "a.jpg")
    red, green, blue = seen(tmp_path).float().mean((1, 2)).tolist()
    assert red > 200 > 60 > max(green, blue)


@pytest.mark.parametrize("picture", [("I", 70_000), ("I", -1), ("F", 0.5)])
def test_levels_of_which_nobody_knows_what_is_white_are_refused(picture: tuple[str, float]) -> None:
    mode, level = picture
    with pytest.raises(
        BadInput, match=f"a.png has pixels of mode {mode}, from {level} to {level}; save it with 8 or 16"
    ):
        coloured(Image.new(mode, (2, 2), level), Path("a.png"))
    assert coloured(Image.new("I", (1, 1), 514), Path("a.png")).getpixel((0, 0)) == (2, 2, 2)


@pytest.mark.parametrize(("told", "top"), [(None, 255), (1, 255), (3, 0), (8, None)])
def test_a_picture_is_turned_as_it_was_held(told: int | None, top: int | None, tmp_path: Path) -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:10] = 255
    (tmp_path / "ant").mkdir()
    exif = Image.Exif()
    if told is not None:
        exif[0x0112] = told
    Image.fromarray(pixels).save(tmp_path / "ant" / "a.png", exif=exif)
    found = seen(tmp_path)
    if top is None:  # on its side: white on the left
        assert (int(found[0, 7, 0]), int(found[0, 7, -1])) == (255, 0)
    else:
        assert (int(found[0, 0, 7]), int(found[0, -1, 7])) == (top, 255 - top)


def test_damaged_exif_leaves_the_picture(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    Image.new("RGB", (20, 20), (9, 8, 7)).save(tmp_path / "ant" / "a.png", exif=b"Exif\0\0nothing of the kind")
    assert seen(tmp_path)[:, 0, 0].tolist() == [9, 8, 7]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_one_iteration_does_not_take_the_batches_of_another(pictures: Listing, workers: int) -> None:
    batches = FolderBatches(pictures, 3, training=False, side=16, workers=workers)
    older, newer = iter(batches), iter(batches)
    if workers:
        with pytest.raises(BadInput, match="goes on after another has begun, and workers serve one at a time"):
            next(older)
    else:
        assert same(list(older), batches)
    assert [y.tolist() for _, y in newer] == [[0, 0, 1], [1, 1, 1], [2, 2, 2]]


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_damaged_picture_is_named(pictures: Listing, content: bytes) -> None:
    pictures.files[4].write_bytes(content)
    with pytest.raises(BadInput, match=r"bee.02\.png cannot be read"):
        list(FolderBatches(pictures, 1, training=False, side=16))


def test_a_truncated_picture_is_named(pictures: Listing) -> None:
    whole = pictures.files[4].read_bytes()
    pictures.files[4].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"bee.02\.png cannot be read"):
        list(FolderBatches(pictures, 1, training=False, side=16))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_damaged_picture_is_named_by_workers_too(pictures: Listing) -> None:
    pictures.files[4].write_bytes(b"")
    with pytest.raises(BadInput, match=r"bee.02\.png cannot be read"):
        list(FolderBatches(pictures, 1, training=False, side=16, workers=1))


def test_a_batch_larger_than_the_folder_is_refused(pictures: Listing) -> None:
    with pytest.raises(BadInput, match="batch of 10 cannot be drawn from 9 pictures"):
        FolderBatches(pictures, 10)
    assert len(FolderBatches(pictures, 10, training=False)) == 1


def test_real_pictures_at_the_usual_size(tmp_path: Path) -> None:
    archive = real("imagenet_sample/imagenet_sample_1000_256px.tar")
    with tarfile.open(archive) as stream:
        for member in [stream.next() for _ in range(4)]:
            place = tmp_path / "val" / Path(member.name).stem
            place.mkdir(parents=True)
            (place / "picture.webp").write_bytes(stream.extractfile(member).read())
    val = imagenet.read(tmp_path).val
    for training in (False, True):
        ((x, y),) = FolderBatches(val, 4, training=training)
        assert x.shape == (4, 3, 224, 224)
        assert sorted(y.tolist()) == [0, 1, 2, 3]
        assert 0.3 < float(x.std()) < 3
