"""Cut a causal model from disk to disk: peak memory and time against size.

For each size a checkpoint of random weights is written in shards of at most 1 GB (bfloat16), and ``niwaki cut`` brings
it to 70 % of its parameters: traced without values, scored by L1, cut tensor by tensor. Memory is all that this process
held at most, torch, transformers and pages of the mapped files among it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from niwaki.bench import results
from niwaki.bench.names import named
from niwaki.errors import NiwakiError
from niwaki.recipes.progress import Teller

GIGABYTE = 10**9
LEFT = 0.7
LIMIT_GB = 8.0
"""As much may the largest take."""


@dataclass(frozen=True)
class Size:
    """Of a Llama: width, width of the MLP, layers, heads, heads of keys and values."""

    hidden: int
    mlp: int
    layers: int
    heads: int
    kv: int
    vocabulary: int = 64_000


SIZES: dict[str, Size] = {
    "0.4 B": Size(1024, 4096, 22, 16, 8),
    "0.8 B": Size(1536, 6144, 20, 24, 8),
    "1.5 B": Size(2048, 8192, 22, 32, 8),
    "3 B": Size(3072, 8192, 28, 24, 8),
}


@dataclass(frozen=True)
class Memory:
    """What is measured.

    Attributes:
        out: the folder of the results. sizes: of ``SIZES``.
        scratch: where checkpoints are written, and removed; the largest takes 12 GB. None: a temporary folder.

    Raises:
        BadInput: a size is not known.
    """

    out: Path
    sizes: Sequence[str] = tuple(SIZES)
    scratch: Path | None = None

    def __post_init__(self) -> None:
        for size in self.sizes:
            named("size", size, SIZES)

    def run(self, teller: Teller | None = None) -> list[dict[str, Any]]:
        """Measure what is missing, and give all rows of these sizes."""
        teller = teller or Teller()
        rows = []
        for size in self.sizes:
            path = self.out / "memory" / f"{size.replace(' ', '')}.json"
            row = results.read(path, {"size": size, "left": LEFT})
            if row is None:
                with tempfile.TemporaryDirectory(dir=self.scratch) as folder, teller.wait(f"{size}: write, and cut"):
                    row = {"size": size, "left": LEFT, **measured(SIZES[size], Path(folder))}
                results.write(path, row)
            rows.append(row)
        return rows


def measured(size: Size, folder: Path) -> dict[str, Any]:
    """Of one size: parameters before and after, bytes of the files, the peak in GB, and seconds."""
    from niwaki.disk import Checkpoint

    source, small = folder / "dense", folder / "small"
    params = generate(size, source)
    seconds, peak = _watched([sys.executable, "-m", "niwaki", "cut", str(source), str(small), "--target",
                              f"{{params: {LEFT}}}", "--shard-gb", "1"])  # fmt: skip
    left = sum(entry.size for entry in Checkpoint(small).entries.values())
    for each in (source, small):
        shutil.rmtree(each)
    return {"params": params, "params_left": left, "bytes": 2 * params, "peak_gb": peak, "seconds": seconds}


def generate(size: Size, folder: Path) -> int:
    """Write a checkpoint of random weights, tensor by tensor; how many parameters it has."""
    import torch
    import transformers

    from niwaki.disk import layout, write
    from niwaki.disk.hollow import hollow
    from niwaki.surgery.store import own_tensors

    config = transformers.LlamaConfig(
        hidden_size=size.hidden, intermediate_size=size.mlp, num_hidden_layers=size.layers,
        num_attention_heads=size.heads, num_key_value_heads=size.kv, vocab_size=size.vocabulary,
        architectures=["LlamaForCausalLM"], dtype="bfloat16",
    )  # fmt: skip
    shapes = {name: t.shape for name, t in own_tensors(hollow(lambda: transformers.LlamaForCausalLM(config))).items()}
    draw = torch.Generator().manual_seed(0)

    def drawn(name: str) -> torch.Tensor:
        return torch.randn(shapes[name], generator=draw, dtype=torch.bfloat16) * 0.02

    write(layout({name: 2 * shape.numel() for name, shape in shapes.items()}, GIGABYTE), drawn, folder)
    config.save_pretrained(folder)
    return sum(shape.numel() for shape in shapes.values())


def _watched(command: Sequence[str]) -> tuple[float, float]:
    """Seconds that a command takes on one thread, and the most memory that it held, in GB.

    Raises:
        NiwakiError: it failed; the end of what it said is in the message.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"})
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            said.seek(0)
            told = "\n".join(said.read().splitlines()[-20:])
            raise NiwakiError(f"{' '.join(command[1:4])} ended with status {process.returncode}:\n{told}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - start, used.ru_maxrss * unit / 1e9


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether all stay below the limit, and how far seconds are from a straight line through sizes, where there are
    three at least."""
    import numpy as np

    found: dict[str, Any] = {"limit_gb": LIMIT_GB, "within_limit": all(row["peak_gb"] < LIMIT_GB for row in rows)}
    if len(rows) < 3:
        return found
    params, seconds = (np.array([row[key] for row in rows], dtype=float) for key in ("params", "seconds"))
    slope, start = np.polyfit(params, seconds, 1)
    fitted = start + slope * params
    worst = float(np.max(np.abs(seconds - fitted) / fitted))
    return {**found, "seconds_per_billion": float(slope) * 1e9, "worst_off_the_line": worst}


__all__ = ["LIMIT_GB", "SIZES", "Memory", "Size", "figures", "generate", "measured"]
