"""The tables of several processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from niwaki.bench.scale.curves import gap
from niwaki.bench.scale.memory import figures
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


def memory(found: Results) -> Rows:
    """What a cut from disk to disk takes."""
    body = [
        [
            f"{row['params'] / 1e9:.2f} billion", f"{row['bytes'] / 1e9:.2f} GB",
            f"{row['params_left'] / row['params']:.1%}", f"{row['peak_gb']:.2f} GB", f"{row['seconds']:.0f} s",
        ]
        for row in found
    ]  # fmt: skip
    return [["parameters", "files", "left", "peak memory", "time"], *body]


def of_memory(found: Results) -> str:
    """Whether it stays within the limit, and whether time is linear in size."""
    told = figures(found)
    said = f"All that the process held at most; {told['limit_gb']:.0f} GB were the limit" + (
        ", and all are below." if told["within_limit"] else ": NOT MET."
    )
    if "seconds_per_billion" in told:
        said += (
            f" A billion parameters takes {told['seconds_per_billion']:.0f} s; the worst point is "
            f"{told['worst_off_the_line']:.0%} off a straight line."
        )
    return said


__all__ = ["added", "curves", "memory", "of_memory", "verdict"]
