"""The reader of MNIST, on files made here: every form is read, and what is damaged is told."""

from __future__ import annotations

import gzip
import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from niwaki.errors import BadInput, BrokenFile
from niwaki.vision.idx import read_idx
from niwaki.vision.mnist import MEAN, STD, Digits, mnist, normalise

PACK: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def arrays(train: int = 6, test: int = 4) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0).integers
    return {
        "train-images-idx3": draw(0, 256, (train, 28, 28), dtype=np.uint8),
        "train-labels-idx1": draw(0, 10, train, dtype=np.uint8),
        "t10k-images-idx3": draw(0, 256, (test, 28, 28), dtype=np.uint8),
        "t10k-labels-idx1": draw(0, 10, test, dtype=np.uint8),
    }


def folder(path: Path, ending: str = "", dot: str = "-", **changed: np.ndarray) -> Path:
    for name, array in (arrays() | changed).items():
        written = name.replace("-idx", f"{dot}idx")
        (path / f"{written}-ubyte{ending}").write_bytes(PACK[ending](idx(array)))
    return path


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("ending", PACK)
def test_all_forms_are_read_alike(ending: str, dot: str, tmp_path: Path) -> None:
    found, made = mnist(folder(tmp_path, ending, dot)), arrays()
    assert found.train.shape == (6, 784)
    assert found.train.view(6, 28, 28).numpy().tolist() == made["train-images-idx3"].tolist()
    assert found.test_labels.tolist() == made["t10k-labels-idx1"].tolist()
    assert found.test_labels.dtype == torch.int64


def test_the_first_and_the_normalised(tmp_path: Path) -> None:
    few = mnist(folder(tmp_path)).first(3).to("cpu")
    assert (len(few.train), len(few.train_labels), len(few.test), len(few.test_labels)) == (3, 3, 3, 3)
    expected = torch.tensor([-MEAN / STD, (1 - MEAN) / STD])
    torch.testing.assert_close(normalise(torch.tensor([0, 255], dtype=torch.uint8)), expected)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (folder(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(BadInput, match=r"no t10k-labels-idx1-ubyte, plain, \.gz or \.xz"):
        mnist(tmp_path)


def test_images_without_their_labels_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, **{"train-labels-idx1": np.zeros(5, dtype=np.uint8)})
    with pytest.raises(BrokenFile, match=r"train images are \(6, 28, 28\) and their labels \(5,\)"):
        mnist(tmp_path)


@pytest.mark.parametrize(
    ("ending", "content", "error", "told"),
    [
        ("", b"GIF89a", BrokenFile, "two zero bytes"),
        ("", b"", BrokenFile, "two zero bytes"),
        ("", idx(np.zeros(3), kind=0x0D), BadInput, "0x0d"),
        ("", b"\0\0\x08\x03\0\0", BrokenFile, "ends within its sizes"),
        ("", idx(np.zeros(9, dtype=np.uint8))[:-1], BrokenFile, r"says \[9\] and holds 8 bytes"),
        ("", idx(np.zeros(9, dtype=np.uint8)) + b"\0", BrokenFile, r"says \[9\] and holds 10 bytes"),
        (".gz", gzip.compress(idx(np.zeros(9, dtype=np.uint8)))[:-9], BrokenFile, "cannot be unpacked"),
        (".gz", b"no gzip", BrokenFile, "cannot be unpacked"),
        (".xz", b"no xz", BrokenFile, "cannot be unpacked"),
        (".xz", lzma.compress(idx(np.zeros(9, dtype=np.uint8)))[:-9], BrokenFile, "cannot be unpacked"),
    ],
)
def test_damaged_files_are_told(ending: str, content: bytes, error: type[Exception], told: str, tmp_path: Path) -> None:
    path = tmp_path / f"labels{ending}"
    path.write_bytes(content)
    with pytest.raises(error, match=told):
        read_idx(path)


PIXELS, LABELS = torch.zeros(2, 784, dtype=torch.uint8), torch.tensor([0, 9])


@pytest.mark.parametrize(
    ("train", "labels", "told"),
    [
        (PIXELS.float(), LABELS, "float32"),
        (PIXELS.view(2, 28, 28), LABELS, r"\(2, 28, 28\)"),
        (PIXELS, LABELS[:1], r"2 images have one label each, not \(1,\)"),
        (PIXELS, LABELS + 1, "found 1 to 10"),
    ],
)
def test_tensors_that_are_no_digits_are_refused(train: torch.Tensor, labels: torch.Tensor, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        Digits(train, labels, PIXELS, LABELS)
