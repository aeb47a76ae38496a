"""The table of the comparison: a row for each cell and goal; what was not measured is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from niwaki.bench.speed import verdicts
from niwaki.bench.speed.cell import Cell
from niwaki.bench.speed.ways import GOALS
from niwaki.bench.tables import Rows

HEAD = (
    "network", "runtime, batch", "goal", *(f"{label}: faster, fewer" for label in verdicts.LABELS.values()),
    "goal met by", "latency beside even widths as important",
)  # fmt: skip


def rows(found: Iterable[Mapping[str, Any]], cells: Sequence[Cell]) -> Rows:
    """Head and body, in the order of the cells."""
    by_name = {(c["network"], c["runtime"], c["batch"]): c for c in found}
    body = []
    for cell in cells:
        there = by_name.get((cell.network, cell.runtime, cell.batch))
        start = [cell.network, f"{cell.runtime}, {cell.batch}"]
        if there is None:
            body.append([*start, "", "not run", *[""] * (len(HEAD) - 4)])
            continue
        body += [[*start, f"{goal}×", *_goal(there, goal)] for goal in GOALS]
    return [list(HEAD), *body]


def _goal(cell: Mapping[str, Any], goal: int) -> list[str]:
    by_way = {row["way"]: row for row in cell["variants"] if row["goal"] == goal}
    there = {way: row for way, row in by_way.items() if verdicts.timed(row)}
    met = [label for way, label in verdicts.LABELS.items() if way in there and verdicts.reached(there[way])]
    told = (", ".join(met) or "none") if verdicts.counts(cell) else ""
    return [*(_figures(by_way.get(way)) for way in verdicts.LABELS), told, _beside(by_way.get("latency", {}))]


def _figures(row: Mapping[str, Any] | None) -> str:
    if row is None or not verdicts.timed(row):
        return "not run"
    return f"{row['speedup']:.2f}, {row['macs_ratio']:.2f}"


def _beside(row: Mapping[str, Any]) -> str:
    if "over_even" not in row:
        return ""
    return f"{row['over_even']:.2f}" + ("" if verdicts.no_slower(row) else ", slower")


def sums(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """How often each goal is met."""
    cells = list(found)
    said = []
    for way, label in verdicts.LABELS.items():
        mine = [r for c in cells if verdicts.counts(c) for r in c["variants"] if r["way"] == way and verdicts.timed(r)]
        if mine:
            said.append(f"{label} {sum(map(verdicts.reached, mine))} of {len(mine)}")
    timely = [r for c in cells for r in c["variants"] if r["way"] == "latency" and verdicts.timed(r)]
    beside = [r for c in cells for r in c["variants"] if "over_even" in r]
    lines = []
    if said:
        lines.append(f"{verdicts.GOAL:g} of the ratio of multiply-adds in speed is met by: {'; '.join(said)}.")
    if timely:
        met, strictly = (sum(verdicts.on_time(row, near) for row in timely) for near in (verdicts.NEAR, 0.0))
        lines.append(
            f"Plans by latency that take the time they were made for, or less: within {verdicts.NEAR:.0%} {met} of "
            f"{len(timely)}, strictly {strictly}."
        )
    if beside:
        no_slower = sum(map(verdicts.no_slower, beside))
        lines.append(f"Plans by latency no slower than even widths that keep no more: {no_slower} of {len(beside)}.")
    return lines


def reasons(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why what was asked for has no time: a line for each reason."""
    why: dict[str, list[str]] = {}
    for cell in found:
        for row in cell["variants"]:
            if row["way"] in verdicts.LABELS and not verdicts.timed(row):
                reason = row.get("trouble") or cell["dense"].get("trouble", "the dense network could not be timed")
                where = f"{cell['network']}, {cell['runtime']}, batch {cell['batch']}, {row['goal']}×"
                why.setdefault(f"{verdicts.LABELS[row['way']]}: {reason}", []).append(where)
    return [f"not run: {reason} ({'; '.join(where)})" for reason, where in why.items()]


__all__ = ["HEAD", "reasons", "rows", "sums"]
