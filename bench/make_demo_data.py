"""Make the demo's data set from the four original files of Fashion-MNIST.

    python bench/make_demo_data.py FOLDER

FOLDER holds train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and
t10k-labels-idx1-ubyte.gz. The same files give the same bytes each time (another release of liblzma may
compress the same images differently).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import lzma
from pathlib import Path

import numpy as np

SEED = 20260101
CLASSES = 10
PARTS = {"train": ("train", 10_000), "test": ("t10k", 4_000)}  # ours: (theirs, images)
OUT = Path(__file__).parents[1] / "src" / "niwaki" / "demo" / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo's data set.")
    parser.add_argument("folder", type=Path, help="folder of the original .gz files")
    parser.add_argument("--out", type=Path, default=OUT, help="where to write")
    options = parser.parse_args()
    sums = []
    for index, (part, (source, count)) in enumerate(PARTS.items()):
        images = read(options.folder / f"{source}-images-idx3-ubyte.gz")
        labels = read(options.folder / f"{source}-labels-idx1-ubyte.gz")
        chosen = choose(labels, count, np.random.default_rng([SEED, index]))
        sums.append(write(options.out / f"{part}-images-idx3-ubyte.xz", images[chosen]))
        sums.append(write(options.out / f"{part}-labels-idx1-ubyte.xz", labels[chosen]))
    (options.out / "SHA256SUMS").write_text("".join(sums))


def choose(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Ascending indices of `count` images, equally many of each class."""
    each = count // CLASSES
    rows = [rng.choice(np.flatnonzero(labels == c), each, replace=False) for c in range(CLASSES)]
    return np.sort(np.concatenate(rows))


def read(path: Path) -> np.ndarray:
    """The array in a gzip-compressed IDX file of unsigned bytes."""
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4).tolist()
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def write(path: Path, array: np.ndarray) -> str:
    """Write an xz-compressed IDX file; give its line of the checksum file."""
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    # Row filters as in PNG make it larger: the plain bytes pack best, with 4 bits of context.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]
    packed = lzma.compress(head + array.tobytes(), lzma.FORMAT_XZ, filters=filters)
    path.write_bytes(packed)
    return f"{hashlib.sha256(packed).hexdigest()}  {path.name}\n"


if __name__ == "__main__":
    main()
