"""What does pressing add to a training step of ResNet-56 on CIFAR?   python bench/cifar_step.py [--runs 40]

Batches of 128 drawn from random pixels by the data path of `niwaki.vision` (crop, flip, normalise, on the device),
channels last, in bfloat16 where the processor has it. In one process, in turns, in alternating order: the plain step,
the same through torch.compile, and the step with the engine in every phase of the methods: pressing the chosen units
(GReg-1), pressing all units alike and pushing while the kept ones are let grow (GReg-2), and the same for single
weights. The share that is added is that of the mean step, those that update the penalty and measure all norms (every
tenth) among them, and of the median step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import chain, repeat

import torch
from ledger import keep
from torch import nn

import niwaki as nk
from niwaki.methods import Method
from niwaki.vision.images import Batches
from niwaki.vision.jobs.training import loss
from niwaki.vision.resnet_cifar import resnet

HALF = nk.Ratio({"layer*.conv1": 0.5})
MATRICES = nk.Ratio(0.5, skip="conv1.*")
COMPILED = "plain, compiled"
PHASES: dict[str, Method | None] = {
    "plain": None,
    COMPILED: None,
    "greg1": nk.methods.greg1(HALF, grow=1e-6),
    "greg2, all alike": nk.methods.greg2(HALF, pick_grow=1e-7),
    # One update of the first phase, and then the second.
    "greg2, pushing": nk.methods.greg2(HALF, pick_grow=1e-2, grow=1e-6, parted=None),
    "greg1, single weights": nk.methods.greg1(MATRICES, grow=1e-6, of="weights"),
}


class Trainer:
    """A network and its step."""

    def __init__(self, method: Method | None, device: torch.device, compiled: bool = False) -> None:
        torch.manual_seed(1)
        self.device = device
        self.model: nn.Module = resnet(56).to(device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)
        self.forward: Callable[[torch.Tensor], torch.Tensor] = torch.compile(self.model) if compiled else self.model
        self.step = self.optimizer.step
        if method is not None:
            example = torch.zeros(1, 3, 32, 32, device=device)
            self.step = nk.Pruning(self.model, self.optimizer, method, example).step

    def run(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """Seconds of one whole step."""
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        loss(self.forward, (images, labels)).backward()
        self.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    pixels = torch.randint(0, 256, (4096, 3, 32, 32), dtype=torch.uint8, device=device)
    labels = torch.randint(0, 10, (4096,), device=device)
    means = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    batches = Batches(pixels, labels, options.batch, channels_last=True, **means)
    stream = chain.from_iterable(iter(b) for b in repeat(batches))
    trainers = {name: Trainer(method, device, name == COMPILED) for name, method in PHASES.items()}
    spent: dict[str, list[float]] = {name: [] for name in trainers}
    drawing: list[float] = []
    for k in range(options.runs + 2):
        start = time.perf_counter()
        batch = next(stream)
        drawing.append(time.perf_counter() - start)
        for name in list(trainers)[:: 1 if k % 2 else -1]:
            spent[name].append(trainers[name].run(*batch))
    steps = {name: times[2:] for name, times in spent.items()}
    plain = statistics.median(steps["plain"])
    figures = {
        "images_per_second": {name: round(options.batch / statistics.median(t)) for name, t in steps.items()},
        "added_share_of_the_mean_step": {
            name: round((statistics.mean(t) - statistics.mean(steps["plain"])) / plain, 4) for name, t in steps.items()
        },
        "added_share_of_the_median_step": {
            name: round(statistics.median(t) / plain - 1, 4) for name, t in steps.items()
        },
        "drawing_a_batch_share": round(statistics.median(drawing) / plain, 4),
        "batch": options.batch,
        "device": options.device,
        "threads": torch.get_num_threads(),
        "runs": options.runs,
    }
    keep("cifar_step", figures, spent)


if __name__ == "__main__":
    main()
