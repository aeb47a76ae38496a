"""Cut a causal model from disk to disk: peak memory and time against size.   python bench/from_disk.py [--folder DIR]

For each size a checkpoint of random weights is written in shards of at most 1 GB (bfloat16), then cut to 70 % of its
parameters in a child process by ``nk.cut_folder``: traced without values, scored by L1, cut tensor by tensor.
Memory is the kernel's high-water mark of that process, with torch, transformers and pages of the files that are mapped.
The largest, of 3 billion parameters, needs 12 GB of disk for both folders; all are removed.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from forked import Memory, in_child
from ledger import keep

import niwaki as nk
from niwaki.disk import layout, write
from niwaki.surgery.store import own_tensors

GIGABYTE = 10**9
LEFT = 0.7
LIMIT_GB = 8.0
# hidden size, width of the MLP, layers, heads, heads of keys and values
SIZES: dict[str, tuple[int, int, int, int, int]] = {
    "0.4 B": (1024, 4096, 22, 16, 8),
    "0.8 B": (1536, 6144, 20, 24, 8),
    "1.5 B": (2048, 8192, 22, 32, 8),
    "3 B": (3072, 8192, 28, 24, 8),
}


def config(size: str) -> Any:
    """A Llama of that size."""
    import transformers

    hidden, mlp, layers, heads, kv = SIZES[size]
    return transformers.LlamaConfig(
        hidden_size=hidden, intermediate_size=mlp, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv, vocab_size=64_000, architectures=["LlamaForCausalLM"], dtype="bfloat16",
    )  # fmt: skip


def generate(size: str, folder: Path) -> int:
    """Write a checkpoint of random weights, tensor by tensor; how many parameters it has."""
    import transformers

    about = config(size)
    model = nk.hollow(lambda: transformers.LlamaForCausalLM(about))
    shapes = {name: t.shape for name, t in own_tensors(model).items()}
    draw = torch.Generator().manual_seed(0)

    def drawn(name: str) -> torch.Tensor:
        return torch.randn(shapes[name], generator=draw, dtype=torch.bfloat16) * 0.02

    write(layout({name: 2 * shape.numel() for name, shape in shapes.items()}, GIGABYTE), drawn, folder)
    about.save_pretrained(folder)
    return sum(shape.numel() for shape in shapes.values())


def work(source: Path, out: Path) -> Iterator[dict[str, Any]]:
    """What the child measures."""
    torch.set_num_threads(1)
    memory, start = Memory(), time.perf_counter()
    nk.cut_folder(source, out, nk.Params(LEFT), shard_bytes=GIGABYTE)
    yield {"seconds": time.perf_counter() - start, "peak_gb": memory.most() * 2**20 / 1e9}


def one(size: str, folder: Path) -> dict[str, Any]:
    source, out = folder / "dense", folder / "small"
    params = generate(size, source)
    found = in_child(work, source, out, seconds=1800)
    left = sum(entry.size for entry in nk.Checkpoint(out).entries.values()) if out.is_dir() else None
    for each in (source, out):
        shutil.rmtree(each, ignore_errors=True)
    return {"size": size, "params": params, "params_left": left, "bytes": 2 * params, **found}


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Peaks, and how far seconds are from a straight line through sizes."""
    x, y = ([row[key] for row in rows] for key in ("params", "seconds"))
    slope, start = (float(v) for v in np.polyfit(x, y, 1))
    fitted = start + slope * np.array(x)
    return {
        "rows": {
            row["size"]: {
                "params": row["params"],
                "share_left": round(row["params_left"] / row["params"], 3),
                "file_gb": round(row["bytes"] / 1e9, 2),
                "peak_gb": round(row["peak_gb"], 2),
                "seconds": round(row["seconds"], 1),
            }
            for row in rows
        },
        "seconds_per_billion": round(slope * 1e9, 1),
        "worst_off_the_line": round(float(np.max(np.abs(np.array(y) - fitted) / fitted)), 3),
        "limit_gb": LIMIT_GB,
        "within_limit": all(row["peak_gb"] < LIMIT_GB for row in rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, help="Where the checkpoints are written; a temporary folder if not given."
    )
    parser.add_argument(
        "--size", nargs="+", default=list(SIZES), choices=list(SIZES), help="The result is printed only."
    )
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for size in options.size:
            rows.append(one(size, Path(folder)))
            print(rows[-1], flush=True)
    if options.size == list(SIZES):
        keep("from_disk", figures(rows), rows)


if __name__ == "__main__":
    main()
