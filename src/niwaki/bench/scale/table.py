"""The tables of several processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from niwaki.bench.scale.curves import gap
from niwaki.bench.scale.steps import GOAL, PLAIN
from niwaki.bench.tables import Rows

Results = Sequence[Mapping[str, Any]]
WRAP = {"ddp": "DDP", "fsdp2": "FSDP2"}


def added(found: Results) -> Rows:
    """What the engine adds to a step."""
    body = []
    for told in found:
        for wrap, by_method in told["found"].items():
            plain = by_method[PLAIN]
            start = [told["network"], str(told["processes"]), WRAP[wrap]]
            figures = [f"{plain['step_s'] * 1000:.0f} ms", f"{plain['samples_per_s']:.1f}"]
            shares = [f"{row['added']:+.2%}" for name, row in by_method.items() if name != PLAIN]
            body.append([*start, *figures, *shares])
    methods = [name for name in next(iter(found[0]["found"].values())) if name != PLAIN] if found else []
    return [["network", "processes", "under", "plain step", "examples/s", *(f"{name} adds" for name in methods)], *body]


def verdict(found: Results) -> str:
    """In how many of these the goal is met."""
    shares = [
        row["added"]
        for told in found
        for by_method in told["found"].values()
        for name, row in by_method.items()
        if name != PLAIN
    ]
    if not shares:
        return "nothing was timed"
    met = sum(share <= GOAL for share in shares)
    return f"The engine adds {GOAL:.0%} to a step at most in {met} of {len(shares)}; the most is {max(shares):+.1%}."


def curves(found: Results) -> Rows:
    """How far the losses of as many processes as were tried are apart, and where the runs end."""
    by_run: dict[str, list[Mapping[str, Any]]] = {}
    for told in found:
        for by_method in told["found"].values():
            for name, row in by_method.items():
                by_run.setdefault(name, []).append(row)
    body = []
    for name, rows in by_run.items():
        params = sorted({row["params"] for row in rows})
        first, last = rows[0]["loss"][0], rows[0]["loss"][-1]
        body.append(
            [name, f"{first:.3f} to {last:.3f}", f"{gap([row['loss'] for row in rows]):.1e}",
             " or ".join(f"{n:,}" for n in params)]
        )  # fmt: skip
    return [["method", "loss, first to last step", "largest gap between the runs", "parameters at the end"], *body]


__all__ = ["added", "curves", "verdict"]
