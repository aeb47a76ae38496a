"""What i-SpaSP costs: against depth, against the number of samples, and its peak memory.

    python bench/ispasp_cost.py [--runs 1] [--quick]

A residual network (two 3x3 convolutions a block, 32 channels, 16 x 16 pixels) and a decoder (grouped-query attention,
gated MLP; width 128, 64 tokens) of several depths are pruned by half, from the making of the run to the cut. Time is of
the processor, one thread, the least of some runs: the machine may be shared. Memory is the kernel's high-water mark of
resident memory over what was resident before (the model and its graph were); ``memory`` bounds what is kept of the
samples and of blocks' outputs. ``from_the_start`` is the same with the front run again for every block. Each run has a
process of its own.
"""

from __future__ import annotations

import argparse
import functools
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from forked import Memory, in_child
from ledger import keep
from torch import Tensor, nn
from torch.nn import functional as F

import niwaki as nk
from niwaki.calibration import Calibration
from niwaki.train import looks

SMALL = 16 * 2**20
"""Bytes that may be kept in memory."""


class Block(nn.Module):
    """Two convolutions and a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + x)


class Residual(nn.Module):
    """A stem, blocks, a head."""

    def __init__(self, depth: int, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


def decoder(depth: int) -> nn.Module:
    """A small Llama with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=500, hidden_size=128, intermediate_size=344, num_hidden_layers=depth, num_attention_heads=8,
        num_key_value_heads=4,
    )  # fmt: skip
    return LlamaForCausalLM(config)


class Drawn:
    """Batches that are drawn when they are asked for, the same each time."""

    def __init__(self, draw: Callable[[int, torch.Generator], Any], samples: int, size: int) -> None:
        self.draw, self.samples, self.size = draw, samples, size

    def __iter__(self) -> Iterator[Any]:
        for k in range(self.samples // self.size):
            yield self.draw(self.size, torch.Generator().manual_seed(k))


def pictures(count: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=generator)


def sentences(count: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(500, (count, 64), generator=generator)}


NETWORKS: dict[str, tuple[Callable[[int], nn.Module], Callable[[int, torch.Generator], Any], int]] = {
    "residual": (Residual, pictures, 64),
    "decoder": (decoder, sentences, 8),
}


def cost(network: str, depth: int, samples: int, memory: int, walk: bool) -> Iterator[dict[str, Any]]:
    """One run, in a process of its own."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    build, draw, size = NETWORKS[network]
    model = build(depth).eval()
    inputs = draw(1, torch.Generator().manual_seed(0))
    graph = nk.trace(model, inputs)
    looks.Calibration = functools.partial(Calibration, walk=walk)  # type: ignore[assignment, misc]
    method = nk.methods.ispasp(nk.Ratio(0.5), samples=samples, memory=memory)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    most, start = Memory(), time.process_time()
    run = nk.Pruning(model, optimizer, method, inputs, graph=graph, data=Drawn(draw, samples, size))
    prepared = time.process_time()
    run.run_at_once()
    yield {
        "seconds": time.process_time() - start,
        "of_that_to_prepare": prepared - start,
        "peak_mib": most.growth(),
        "weights_mib": sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20,
    }


def measured(runs: int, **settings: Any) -> dict[str, Any]:
    """The run of the least time."""
    found = [in_child(functools.partial(cost, **settings), seconds=1500) for _ in range(runs)]
    for each in found:
        if each["status"] != "done":
            raise SystemExit(f"{settings}: {each}")
    best = min(found, key=lambda each: each["seconds"])
    row = {**settings, **{k: round(v, 3) for k, v in best.items() if k != "status"}}
    print(row, flush=True)
    return row


def line(rows: list[dict[str, Any]], along: str) -> dict[str, float]:
    """The straight line through the times: seconds for each more, and how much of the variance it explains."""
    x, y = (np.array([row[key] for row in rows], dtype=float) for key in (along, "seconds"))
    slope, offset = np.polyfit(x, y, 1)
    rest = ((y - slope * x - offset) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    return {
        "seconds_each": round(float(slope), 5),
        "offset_s": round(float(offset), 3),
        "r2": round(float(1 - rest), 4),
    }


def figures(tables: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """What the tables say in a few numbers."""
    found: dict[str, Any] = {}
    for name, rows in tables.items():
        along = "samples" if "samples" in name else "depth"
        found[name] = {
            "from_to": [rows[0][along], rows[-1][along]],
            **line(rows, along),
            "last_step": round(rows[-1]["seconds"] / rows[-2]["seconds"], 2),
            "peak_mib": [row["peak_mib"] for row in rows],
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few and small ones, kept nowhere")
    options = parser.parse_args()
    import transformers  # noqa: F401  (before the children are forked)

    few = options.quick
    depths = {"residual": (2, 4) if few else (4, 8, 16, 32, 48), "decoder": (1, 2) if few else (2, 4, 8, 16, 32)}
    samples = {"residual": 128, "decoder": 16} if few else {"residual": 512, "decoder": 64}
    tables: dict[str, list[dict[str, Any]]] = {}
    for name, several in depths.items():
        settings = {"network": name, "samples": samples[name], "memory": SMALL}
        tables[f"{name}, depth"] = [measured(options.runs, depth=d, walk=True, **settings) for d in several]
    settings = {"network": "residual", "samples": samples["residual"], "memory": SMALL}
    shallow = depths["residual"][:4]
    tables["residual, depth, from_the_start"] = [measured(1, depth=d, walk=False, **settings) for d in shallow]
    sizes = (64, 128) if few else (256, 512, 1024, 2048)
    settings = {"network": "residual", "depth": 4, "memory": SMALL, "walk": True}
    tables["residual, samples"] = [measured(options.runs, samples=n, **settings) for n in sizes]
    if few:
        print(figures(tables))
    else:
        keep("ispasp_cost", figures(tables), tables)


if __name__ == "__main__":
    main()
