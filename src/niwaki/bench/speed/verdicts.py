"""The goals, and what holds of them: faster by what the multiply-adds promise; a share of the time that was asked for;
no slower than even widths that keep as much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

GOAL = 0.9
"""Of the ratio of multiply-adds is what a network is to be faster by."""
NOISE = 0.03
"""Times that differ by no more than this are alike."""
NEAR = 0.05
"""A plan by latency may miss its share of the time by so much of it."""
GOAL_RUNTIMES = ("onnxruntime", "openvino")
LABELS = {"uniform": "even widths", "macs": "multiply-adds", "latency": "latency", "torch-pruning": "Torch-Pruning"}


def timed(row: Mapping[str, Any]) -> bool:
    """Whether there is a time of this variant."""
    return "speedup" in row


def reached(row: Mapping[str, Any]) -> bool:
    """Whether it is faster by ``GOAL`` of the ratio of multiply-adds, or more."""
    return bool(row["speedup"] >= GOAL * row["macs_ratio"])


def on_time(row: Mapping[str, Any], near: float = NEAR) -> bool:
    """Whether a plan by latency takes the share of the time that it was made for, or less, within ``near``."""
    return bool(row["speedup"] * (1 + near) >= row["goal"])


def no_slower(row: Mapping[str, Any]) -> bool:
    """Whether a plan by latency is as fast as even widths that keep no more importance, or faster."""
    return bool(row["over_even"] >= 1 - NOISE)


def counts(cell: Mapping[str, Any]) -> bool:
    """Whether the first goal is one for this cell."""
    return cell["runtime"] in GOAL_RUNTIMES and cell["threads"] == 1


def lines(cell: Mapping[str, Any]) -> Iterator[str]:
    """Of each variant how fast it is and whether that meets the goals, and what was not run, and why."""
    name = f"{cell['network']}, {cell['runtime']}, batch {cell['batch']}"
    for row in cell["variants"]:
        if row["way"] not in LABELS:
            continue
        title = f"{name}, {row['goal']}x, {LABELS[row['way']]}"
        if not timed(row):
            yield f"{title}: not run: {row.get('trouble') or cell['dense'].get('trouble', 'the dense network failed')}"
            continue
        said = f"{title}: {row['speedup']:.2f} times as fast with {row['macs_ratio']:.2f} times fewer multiply-adds"
        if counts(cell):
            said += f"; {GOAL:g} of that: {'met' if reached(row) else 'not met'}"
        yield said
        if row["way"] == "latency":
            yield f"{title}: 1/{row['goal']} of the time, within {NEAR:.0%}: {'met' if on_time(row) else 'not met'}"
        if "over_even" in row:
            yield (
                f"{title}: {row['over_even']:.2f} times as fast as even widths that keep no more importance: "
                f"{'met' if no_slower(row) else 'not met'}"
            )


__all__ = [
    "GOAL",
    "GOAL_RUNTIMES",
    "LABELS",
    "NEAR",
    "NOISE",
    "counts",
    "lines",
    "no_slower",
    "on_time",
    "reached",
    "timed",
]
