"""What does the engine add to a step under data parallelism?   python bench/scale_step.py [--runs 12] [--width 512]

Starts 1, 2 and 4 processes (gloo, one thread each) with torchrun, on a perceptron, under DistributedDataParallel and
under fully_shard. Interleaved in each process: a plain step, one under GReg-1 in its pressing phase, and one under
SPUR's penalty with masks. Kept: the median step of the slowest rank, the share that the engine adds, samples per second
(all ranks have as many samples, so that more ranks train on more), and the loss over the first steps of a global batch
of a fixed size, which must not depend on the number of processes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ledger import keep
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import niwaki as nk

WRAPS = ("ddp", "fsdp")
METHODS: dict[str, Any] = {
    "plain": None,
    "greg1": nk.methods.greg1(nk.Ratio(0.5), grow=1e-6, parted=None),
    "spur": nk.methods.spur(0.5, rounds=1, steps=10_000, dense=0, alpha=1e-4),
}
CURVE, GLOBAL = 20, 64
"""Steps of the loss curve, and samples of each over all ranks."""


def network(width: int, layers: int = 6) -> nn.Module:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(layers)]
    return nn.Sequential(*blocks, nn.Linear(width, 10))


def wrapped(model: nn.Module, wrap: str) -> nn.Module:
    if wrap == "ddp":
        return DistributedDataParallel(model)
    for block in list(model.children())[:-1]:
        fully_shard(block)
    return fully_shard(model)


class Job:
    """A model in training, plain or under a method."""

    def __init__(self, wrap: str, method: nk.methods.Method | None, width: int) -> None:
        self.model, self.width = wrapped(network(width), wrap), width
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-2, momentum=0.9)
        self.step = self.optimizer.step
        if method is not None:
            self.step = nk.Pruning(self.model, self.optimizer, method, torch.zeros(1, width)).step

    def run(self, seed: int, samples: slice, total: int) -> tuple[float, float]:
        """Seconds, and the loss on this rank's samples of a batch."""
        drawn = torch.Generator().manual_seed(seed)
        x = torch.randn(total, self.width, generator=drawn)[samples]
        start = time.perf_counter()
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), x[:, :10].argmax(1))
        loss.backward()
        self.step()
        return time.perf_counter() - start, float(loss.detach())


def rank_main(runs: int, width: int, batch: int, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    ranks = nk.Ranks(dist.group.WORLD)
    found: dict[str, Any] = {}
    for wrap in WRAPS:
        jobs = {name: Job(wrap, method, width) for name, method in METHODS.items()}
        share = slice(ranks.rank * GLOBAL // ranks.size, (ranks.rank + 1) * GLOBAL // ranks.size)
        curves = {name: [job.run(step, share, GLOBAL)[1] for step in range(CURVE)] for name, job in jobs.items()}
        spent: dict[str, list[float]] = {name: [] for name in jobs}
        for k in range(runs):
            for name in list(jobs)[:: 1 if k % 2 else -1]:
                dist.barrier()
                spent[name].append(jobs[name].run(1000 + k * ranks.size + ranks.rank, slice(None), batch)[0])
        found[wrap] = {"seconds": spent, "curve": curves}
    every = [json.loads(text) for text in ranks.texts(json.dumps(found))]
    if ranks.rank == 0:
        out.write_text(json.dumps(every), encoding="utf-8")
    dist.destroy_process_group()


def launched(processes: int, options: argparse.Namespace) -> list[Any]:
    """What every rank found."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command += [__file__, "--rank-of", str(out), "--runs", str(options.runs), "--width", str(options.width)]
        command += ["--batch", str(options.batch)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return list(json.loads(out.read_text(encoding="utf-8")))


def figures_of(every: list[Any], batch: int) -> dict[str, Any]:
    """Of one number of processes."""
    rows: dict[str, Any] = {}
    for wrap in WRAPS:
        seconds = {
            name: statistics.median(max(step) for step in zip(*(r[wrap]["seconds"][name] for r in every), strict=True))
            for name in METHODS
        }
        curves = {name: [r[wrap]["curve"][name] for r in every] for name in METHODS}
        rows[wrap] = {
            "step_s": {name: round(s, 5) for name, s in seconds.items()},
            "added": {name: round(s / seconds["plain"] - 1, 4) for name, s in seconds.items() if name != "plain"},
            "samples_per_s": {name: round(batch * len(every) / s, 1) for name, s in seconds.items()},
            "loss": {
                name: [round(statistics.mean(at), 6) for at in zip(*curve, strict=True)]
                for name, curve in curves.items()
            },
        }
    return rows


def _gap(rows: list[Any], name: str) -> float:
    """How far the loss curves of one method are apart, over wraps and numbers of processes."""
    curves = [row[wrap]["loss"][name] for row in rows for wrap in WRAPS]
    return max(max(at) - min(at) for at in zip(*curves, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64, help="samples of each rank in a timed step")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rank-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank_of is not None:
        rank_main(options.runs, options.width, options.batch, options.rank_of)
        return
    raw = {str(n): launched(n, options) for n in options.processes}
    figures: dict[str, Any] = {"width": options.width, "batch_per_rank": options.batch, "runs": options.runs}
    figures["processes"] = {n: figures_of(every, options.batch) for n, every in raw.items()}
    figures["largest_gap_of_losses"] = max(_gap([figures["processes"][n] for n in raw], name) for name in METHODS)
    keep("scale_step", figures, raw)


if __name__ == "__main__":
    main()
