"""Data sets of noise, tiny and whole, in forms that the readers know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def cifar10(root: Path) -> None:
    """``cifar10/`` with fifty training and ten test images, as the unpacked binary version."""
    draw, folder = np.random.default_rng(0), root / "cifar10"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        (folder / f"{name}.bin").write_bytes(b"".join(bytes([label]) + draw.bytes(3072) for label in range(10)))


def cifar100(root: Path) -> None:
    """``cifar100/`` with one training and one test image of each class, as sheets of tiles."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    draw, folder = np.random.default_rng(0), root / "cifar100"
    folder.mkdir(parents=True)
    for name in ("train", "test"):
        image.fromarray(draw.integers(0, 256, (320, 320, 3), np.uint8)).save(folder / f"{name}_00.webp", lossless=True)
        np.save(folder / f"{name}_labels.npy", np.arange(100, dtype=np.uint8))


def pictures(root: Path, parts: tuple[str, ...] = ("train", "val")) -> None:
    """``imagenet/`` with three classes of JPEGs, 40 to 300 pixels: four of each for training, one for testing."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    draw = np.random.default_rng(0)
    for part in parts:
        for label, name in enumerate(("n01440764", "n01443537", "n01484850")):
            folder = root / "imagenet" / part / name
            folder.mkdir(parents=True)
            for k in range(4 if part == "train" else 1):
                shape = (40 + 80 * k, 300 - 70 * label - 40 * k, 3)
                image.fromarray(draw.integers(0, 256, shape, np.uint8)).save(folder / f"{k}.jpg")
