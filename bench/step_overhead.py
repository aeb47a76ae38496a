"""What does the engine add to a training step on ResNet-50 shapes?   python bench/step_overhead.py [--runs 20]

Forward, backward and step of SGD with momentum on one batch, plain and under GReg-1 in its pressing phase (updates on
every 10th step, as the method's default), interleaved in one process, in alternating order. `overhead` compares the
medians of all steps; `update_overhead` those of the steps that update the penalty and measure all norms.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from ledger import keep
from torch import nn
from torch.nn import functional as F

import niwaki as nk
from niwaki.vision.resnet_imagenet import resnet50


class Bench:
    """A model, its optimizer, and what is called in place of `optimizer.step`."""

    def __init__(self, engine: bool, size: int) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = resnet50()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4, momentum=0.9)
        self.step = self.optimizer.step
        if engine:
            method = nk.methods.greg1(nk.Macs(1 / 3), grow=1e-6)
            self.step = nk.Pruning(self.model, self.optimizer, method, torch.zeros(1, 3, size, size)).step

    def run(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
        """Seconds of a whole step, and of the part from the end of the backward pass on."""
        start = time.perf_counter()
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(images), labels).backward()
        middle = time.perf_counter()
        self.step()
        end = time.perf_counter()
        return end - start, end - middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    torch.manual_seed(1)
    images = torch.randn(options.batch, 3, options.size, options.size)
    labels = torch.randint(0, 1000, (options.batch,))
    pair = {"plain": Bench(False, options.size), "engine": Bench(True, options.size)}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in pair}
    for k in range(options.runs + 1):
        for name in list(pair)[:: 1 if k % 2 else -1]:
            spent[name].append(pair[name].run(images, labels))
    whole = {n: [s for s, _ in rows[1:]] for n, rows in spent.items()}
    tail = {n: [t for _, t in rows[1:]] for n, rows in spent.items()}
    plain, engine = statistics.median(whole["plain"]), statistics.median(whole["engine"])
    updates = tail["engine"][9::10]
    extra = statistics.mean(tail["engine"]) - statistics.mean(tail["plain"])
    figures = {
        "plain_step_s": round(plain, 4),
        "engine_step_s": round(engine, 4),
        "overhead": round(engine / plain - 1, 4),
        "added_by_step_s": round(statistics.median(tail["engine"]) - statistics.median(tail["plain"]), 5),
        "mean_added_share": round(extra / plain, 4),
        "update_step_adds_s": round(statistics.median(updates) - statistics.median(tail["plain"]), 5)
        if updates
        else None,
        "batch": options.batch,
        "threads": torch.get_num_threads(),
        "runs": options.runs,
    }
    keep("step_overhead", figures, spent)


if __name__ == "__main__":
    main()
