"""Torch-Pruning at about the same multiply-adds: what ratio it takes is found in a process of its own, which may crash
or hang; with that ratio the model is made here.

python -m niwaki.bench.speed.rival NETWORK GOAL [GOAL ...]    prints the ratios as JSON
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from niwaki.bench import results, torch_pruning
from niwaki.bench.speed.subjects import plain, subject
from niwaki.errors import NiwakiError
from niwaki.graph.observe import call_arguments
from niwaki.measure import macs

SECONDS = 180.0
"""So long the search may take."""
_HALVINGS = 7


def model(name: str, goal: int, folder: Path) -> nn.Module:
    """A network that Torch-Pruning cut to about ``1 / goal`` of the multiply-adds. ``folder``: keeps what was found.

    Raises:
        NiwakiError: it could not; the message says why.
    """
    path = folder / f"{plain(name)}.{goal}x.json"
    found = results.read(path, {"network": name, "goal": goal})
    if found is None:
        found = {"network": name, "goal": goal, **_searched(name, goal)}
        results.write(path, found)
    if "ratio" not in found:
        raise NiwakiError(found["trouble"])
    return cut(name, found["ratio"])


def cut(name: str, ratio: float) -> nn.Module:
    """What it leaves of the network; where that does not run, its configuration's numbers are set too."""
    given = subject(name)
    made, inputs = given.build(), given.inputs(1)
    torch_pruning.prune(made, inputs, ratio)
    made.requires_grad_(False)
    try:
        _run(made, inputs)
    except Exception:
        if not hasattr(made, "config"):
            raise
        torch_pruning.configure(made)
        _run(made, inputs)
    return made.eval()


def _run(made: nn.Module, inputs: Any) -> None:
    args, kwargs = call_arguments(inputs)
    with torch.inference_mode():
        made(*args, **kwargs)


def search(name: str, goal: int) -> dict[str, Any]:
    """The ratio whose network is nearest to the goal, by halving; with its share of the multiply-adds. Where it crashes
    at a ratio, a lower one is tried."""
    inputs = subject(name).inputs(1)
    dense = macs(subject(name).build(), inputs)
    low, high, seen, trouble = 0.0, 1.0, dict[float, float](), ""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        try:
            seen[middle] = macs(cut(name, middle), inputs) / dense
        except Exception as crash:
            trouble = f"{type(crash).__name__}: {crash}"
        deep = middle not in seen or seen[middle] < 1 / goal
        low, high = (low, middle) if deep else (middle, high)
    if not seen:
        return {"trouble": " ".join(trouble.split())[:300]}
    ratio = min(seen, key=lambda r: abs(seen[r] - 1 / goal))
    return {"ratio": ratio, "macs": seen[ratio]}


def _searched(name: str, goal: int) -> dict[str, Any]:
    command = [sys.executable, "-m", __name__, name, str(goal)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return {"trouble": f"no answer in {SECONDS:.0f} s"}
    said = done.stdout.strip().splitlines()
    if done.returncode or not said:
        last = (done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"])[-1]
        return {"trouble": last[:300]}
    answer: dict[str, Any] = json.loads(said[-1])
    return answer


def main(arguments: Sequence[str]) -> None:
    """What the process of its own does."""
    name, goal = arguments
    torch.set_num_threads(1)
    try:
        found = search(name, int(goal))
    except Exception as trouble:
        found = {"trouble": " ".join(f"{type(trouble).__name__}: {trouble}".split())[:300]}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
