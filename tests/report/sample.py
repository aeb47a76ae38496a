"""Reports to test with: a realistic one with round numbers, easy to check by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from niwaki.pattern import look
from niwaki.report import (
    Blocked,
    Entry,
    Foretold,
    GroupParting,
    Latency,
    Limit,
    Parting,
    PatternRound,
    Patterns,
    Phase,
    Point,
    Report,
    Trace,
)
from niwaki.report.limits import CAUSES

DENSE_WIDTHS = {"stem": 64} | {
    f"layer{stage}.{block}.conv1": 32 * 2**stage for stage in (1, 2, 3, 4) for block in (0, 1)
}
RESIDUAL = "layer1 residual: layer1.0.conv2, layer1.1.conv2, layer1.0.shortcut and 4 more"


def check(name: str, against: str, kind: str = "forward", worst: float | None = 2.4e-7, **more: Any) -> dict[str, Any]:
    made = {"name": name, "against": against, "kind": kind, "worst": worst, "tolerance": 1e-5, "holds": True}
    return made | {"detail": ""} | more


def certificate(*, holds: bool = True) -> dict[str, Any]:
    checks = [
        check("cut", "masked"),
        check("cut", "masked", "gradient", 3.1e-6),
        check("reloaded", "cut", worst=0.0),
    ]
    last = check("exported", "cut", worst=4.9e-7, detail="ONNX Runtime 1.20, 32 inputs")
    if not holds:
        last |= {
            "worst": 0.31,
            "holds": False,
            "detail": "output 7 of 10 differs: the export kept the old head size",
        }
    return {"holds": holds, "checks": [*checks, last]}


def timings(torch_ms: float, onnx_ms: float) -> tuple[Latency, ...]:
    return (
        Latency("PyTorch", 2, 16, torch_ms, torch_ms * 0.96, torch_ms * 0.03, 50),
        Latency("ONNX Runtime", 2, 16, onnx_ms, onnx_ms * 0.97, onnx_ms * 0.02, 50),
    )


def widths(share: float) -> dict[str, int]:
    dense = DENSE_WIDTHS | {RESIDUAL: 64}
    return {
        name: max(8, round(width * (share + 0.12 * math.sin(i)) / 8) * 8)
        for i, (name, width) in enumerate(dense.items())
    }


def dense() -> Entry:
    return Entry(
        "dense", "Dense ResNet-18", None, 0.911, 1_800_000_000, 11_200_000, 44_700_000, timings(48.0, 30.0),
        DENSE_WIDTHS | {RESIDUAL: 64}, None, {"train": 1260.0},
    )  # fmt: skip


def dense_in_full(**more: Any) -> Entry:
    """With what later reports say of it, too."""
    known = {
        "activation_bytes": 6_000_000, "peak_bytes": 50_000_000, "forecast": foretold(50.0, 30.0),
        "weights": "5eed" * 16,
    }  # fmt: skip
    return replace(dense(), **(known | more))


def greg_in_full(**more: Any) -> Entry:
    """With what later reports say of it, too: forecast to be 2.00 and 2.50 times as fast."""
    known: dict[str, Any] = {
        "activation_bytes": 3_000_000, "peak_bytes": 20_000_000, "forecast": foretold(25.0, 12.0),
        "limits": limits(),
    }  # fmt: skip
    return greg(**(known | more))


def foretold(torch_ms: float, onnx_ms: float) -> tuple[Foretold, ...]:
    return (Foretold("PyTorch", 2, 16, torch_ms), Foretold("ONNX Runtime", 2, 16, onnx_ms))


def limits() -> tuple[Limit, ...]:
    """Of every group, all causes in turn."""
    causes = [cause for cause in CAUSES if cause != "unknown"]
    found = [
        Limit(name, causes[i % len(causes)], "38 by its share; units are left in multiples of 8")
        for i, name in enumerate(DENSE_WIDTHS)
    ]
    tied = ("layer1.0.conv2", "layer1.1.conv2", "layer1.0.shortcut", "layer2.0.conv1", "layer2.1.conv1")
    return (*found, Limit(RESIDUAL, "unknown", "", tied))


BLOCKED = (
    Blocked("conv2d fixes the size of its kernel (aten.conv2d at nets.py:12).", ["stem.weight[2]"], 34, 1_200_000),
    Blocked("the model gives it out: it belongs to the caller.", ["head.weight[0]", "head.bias[0]"], 2, 5_130),
)


def greg(**more: Any) -> Entry:
    values: dict[str, Any] = {
        "name": "greg1", "label": "GReg-1",
        "method": {"kind": "greg1", "target": {"kind": "Macs", "remains": 0.33}, "grow": 1e-4, "every": 10},
        "accuracy": 0.908, "macs": 600_000_000, "params": 4_480_000, "file_bytes": 17_900_000,
        "latency": timings(30.0, 12.5), "widths": widths(0.55), "certificate": certificate(),
        "seconds": {"press": 2040.0, "finetune": 640.0, "certify": 4.2},
        "notes": ("The first convolution was left alone: its input is the image.",),
    }  # fmt: skip
    return Entry(**(values | more))


def trace(group: str = "layer2.0.conv1", units: int = 64) -> Trace:
    steps = list(range(0, 5001, 50))
    chosen = [unit for unit in range(units) if unit * 7 % 16 < 6]
    rows = []
    for step in steps:
        past = step / 5000
        push = [math.exp(-9.5 * past**2 * (1 + (u % 5) / 9)) if u in chosen else 1 + 0.15 * past for u in range(units)]
        rows.append([(0.6 + 0.5 * math.sin(u * 2.4) ** 2) * push[u] for u in range(units)])
    return Trace("greg1", group, steps, [min(1.0, step * 2.5e-4) for step in steps], rows, chosen)


def parting(entry: str = "greg1", groups: int = 10, *, alike: bool = True, **more: Any) -> Parting:
    """As GReg-2 leaves it: all units pressed to 0.01 in 1,000 steps, then the picked ones to 1 in 4,000, and a hold.

    The spread of a group's norms doubles before the pick; later groups end wider, and their kept units heavier.
    """
    names = [*DENSE_WIDTHS, RESIDUAL, *(f"more.{i}" for i in range(groups))][:groups]
    first = 1000 if alike else 0
    before, after = list(range(0, first, 100)), list(range(first, 5000, 100))
    made = []
    for i, name in enumerate(names):
        early = [0.1 + 0.1 * step / 900 for step in before]
        late = [0.2 + (0.3 + 0.02 * i) * (step - first) / 3900 for step in after]
        ratio = [math.exp((step - first) / 3900 * (5 + 0.5 * i)) for step in after]
        penalty = [1e-5 * (step + 100) / 1.1 for step in before] + [0.01 + (s - first) * 2.475e-4 for s in after]
        made.append(GroupParting(name, before + after, penalty, early + late, [None] * len(before) + ratio))
    phases = [Phase("spread", 0)] * alike + [Phase("press", first), Phase("hold", 5000), Phase("cut", 5600)]
    return Parting(**({"entry": entry, "phases": phases, "groups": made, "parted": 1000.0} | more))


MATRICES = {"attention.self.query": (64, 64), "intermediate.dense": (160, 64), "output.dense": (64, 160)}


def patterns(
    entry: str = "greg1", layers: int = 2, *, strength: float = 0.5,
    sparsities: Sequence[float] = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95),
) -> Patterns:  # fmt: skip
    """As iterative magnitude pruning leaves it, of an encoder: in each round the least weights of a matrix go.

    The weights are random, times a factor per row and per column; the factors lie as far apart as ``strength`` says.
    """
    return Patterns(entry, _rounds(layers, strength, tuple(sparsities)))


@cache
def _rounds(layers: int, strength: float, sparsities: tuple[float, ...]) -> list[PatternRound]:
    random = np.random.default_rng(0)
    weights = {}
    for layer in range(layers):
        for name, (rows, columns) in MATRICES.items():
            factors = np.outer(random.random(rows) ** strength, random.random(columns) ** strength)
            weights[f"encoder.layer.{layer}.{name}.weight"] = factors * random.random((rows, columns))
    rounds = []
    for i, sparsity in enumerate(sparsities):
        kept = {name: look(w >= np.quantile(w, sparsity)) for name, w in weights.items()}
        rounds.append(PatternRound(1000 * i, sparsity, kept))
    return rounds


def without_maps(told: Patterns, *names: str) -> Patterns:
    """The patterns without the heat maps of these matrices, or of all."""
    bare = [
        replace(
            one, matrices={n: replace(p, blocks=()) if not names or n in names else p for n, p in one.matrices.items()}
        )
        for one in told.rounds
    ]
    return Patterns(told.entry, bare)


def curve(entry: str, top: float) -> list[Point]:
    points = []
    for i in range(25):
        phase = "press" if i < 12 else "finetune"
        accuracy = top - 0.12 * math.exp(-i / 3) - (0.03 * math.exp(-((i - 12) ** 2) / 4))
        points.append(Point(entry, phase, i * 50_000, 0.3 + 1.4 * math.exp(-i / 4), accuracy))
    return points


def sample(**more: Any) -> Report:
    ispasp = greg(
        name="ispasp", label="i-SpaSP", accuracy=0.897, macs=620_000_000, params=4_900_000,
        file_bytes=19_700_000, latency=timings(31.4, 13.1), widths=widths(0.48), notes=(),
        method={"kind": "ispasp", "iters": 20}, seconds={"select": 41.0, "finetune": 610.0},
    )  # fmt: skip
    magnitude = greg(
        name="magnitude", label="Magnitude (L1), one shot", accuracy=0.889, macs=590_000_000,
        params=4_400_000, file_bytes=17_600_000, latency=timings(47.6, 12.4), widths=widths(0.62), notes=(),
        method={"kind": "magnitude"}, seconds={"finetune": 640.0},
    )  # fmt: skip
    values: dict[str, Any] = {
        "title": "ResNet-18 on Fashion-MNIST", "created": "2025-11-21 10:04 UTC",
        "command": "niwaki prune resnet18.yaml --methods greg1,ispasp,magnitude --seed 0 --out report",
        "environment": {"niwaki": "0.1.0", "torch": "2.13.0", "cpu": "2 cores", "seed": 0},
        "settings": {"model": "resnet18", "data": {"name": "fashion-mnist", "batch": 128}, "epochs": [6, 6]},
        "entries": [dense(), greg(), ispasp, magnitude],
        "traces": [trace(), trace(RESIDUAL, 128)], "curve": curve("greg1", 0.908) + curve("ispasp", 0.897),
    }  # fmt: skip
    return Report(**(values | more))


def full(**more: Any) -> Report:
    """The sample with everything that a report can hold."""
    entries = [dense_in_full(), greg_in_full(), *sample().entries[2:]]
    parted = [parting(), parting("ispasp", 3, alike=False)]
    return sample(**({"entries": entries, "partings": parted, "patterns": [patterns()], "blocked": BLOCKED} | more))
