"""What the studies found, as tables for a terminal or a document."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from niwaki.bench.ispasp import heads, timing
from niwaki.bench.ispasp.printed import DENSE, FIGURE_1, FIGURE_2, FIGURE_3
from niwaki.bench.ispasp.rivals import LABELS
from niwaki.bench.ispasp.settings import Schedule, Settings, differences
from niwaki.bench.ispasp.study import WHEN
from niwaki.bench.ispasp.synthetic import miss
from niwaki.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

Rows = list[list[str]]
"""A heading and rows of cells."""
SHOWN = {100: (1, 5, 20, 50, 90), 200: (1, 10, 50, 100, 180)}


def synthetic(curves: Iterable[Mapping[str, Any]]) -> Rows:
    """Of Figure 2: ours and the paper's at some points, and the mean miss over all points read off."""
    rows = [["units, p", *(["kept: ours (paper)"] * len(SHOWN[100])), "mean miss, log10"]]
    for curve in curves:
        printed = FIGURE_2.get(curve["width"], {}).get(curve["p"], {})
        shown = [k for k in SHOWN.get(curve["width"], SHOWN[100]) if k <= curve["width"]]
        cells = [f"{k}: {curve['residuals'][k - 1]:.1e} ({_printed(printed.get(k), '.1e')})" for k in shown]
        missed = miss(curve)
        rows.append([f"{curve['width']}, {curve['p']}", *cells, "–" if missed is None else f"{missed:.3f}"])
    return rows


def times(results: Sequence[Mapping[str, Any]]) -> Rows:
    """Of Figure 1: seconds of one core, and how many times those of i-SpaSP; the paper's ratio in brackets."""
    shares = sorted({each["kept"] for each in results})
    rows = [["channels", "chosen by", *(f"{share:.0%} kept: s, ratio (paper)" for share in shares)]]
    for channels in sorted({each["channels"] for each in results}):
        for name, label in timing.LABELS.items():
            cells = [_time(results, channels, name, share) for share in shares]
            if any(cells):
                rows.append([str(channels), label, *cells])
    return rows


def _time(results: Sequence[Mapping[str, Any]], channels: int, name: str, share: float) -> str:
    mine, first = (timing.seconds(results, channels, who, share) for who in (name, "ispasp"))
    if mine is None:
        return ""
    printed = FIGURE_1.get(channels, {})
    theirs = printed.get(name, {}).get(share)
    paper = "" if theirs is None else f" ({theirs / printed['ispasp'][share]:.3g}×)"
    return f"{mine:.3g}" + ("" if first is None else f", {mine / first:.3g}×{paper}")


def kept_heads(results: Sequence[Mapping[str, Any]]) -> Rows:
    """Of Table 2: the task's measure as cut and after tuning, means over the seeds in percent."""
    shares = sorted({each["kept"] for each in results})
    columns = [f"{share:.0%} kept, {when}" for share in shares for when in ("as cut", "tuned")]
    rows = [["task, encoder", "heads chosen by", *columns]]
    for job in dict.fromkeys((each["task"], each["encoder"]) for each in results):
        ours = [each for each in results if (each["task"], each["encoder"]) == job]
        for name, label in heads.LABELS.items():
            found = [[e for e in ours if (e["pruner"], e["kept"]) == (name, share)] for share in shares]
            cells = [_seeds([e[when] for e in some]) for some in found for when in ("before", "after")]
            if any(cells):
                rows.append([f"{job[0]}, {job[1]}", label, *cells])
        rows.append([f"{job[0]}, {job[1]}", "all heads", *[_seeds([ours[0]["dense"]])] * len(columns)])
    return rows


def _seeds(values: Sequence[float]) -> str:
    """Mean and spread of shares in percent, and how many there are."""
    if not values:
        return ""
    percent = [100 * value for value in values]
    spread = f" ± {statistics.stdev(percent):.2f} ({len(percent)})" if len(percent) > 1 else ""
    return f"{statistics.fmean(percent):.2f}{spread}"


def means(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of the results of all seeds of Figure 3: one line for each rival and width, accuracies in percent."""
    found: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for result in results:
        found.setdefault((result["rival"], result["keep"]), []).append(result)
    order = list(LABELS)
    return [
        _line(rival, keep, found[rival, keep]) for rival, keep in sorted(found, key=lambda k: (order.index(k[0]), k[1]))
    ]


def _line(rival: str, keep: int, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    line: dict[str, Any] = {"rival": rival, "keep": keep, "seeds": len(found)}
    for key in ("dense", *WHEN):
        values = [100 * each[key] for each in found]
        line[key] = {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}
    line["units"] = statistics.fmean(each["units"] for each in found)
    line["select_s"] = statistics.median(each["select_s"] for each in found)
    return line


def accuracies(lines: Sequence[Mapping[str, Any]]) -> Rows:
    """Of Figure 3: rows are rival and time, columns are widths; the paper's numbers in brackets."""
    widths = sorted({line["keep"] for line in lines})
    of = {(line["rival"], line["keep"]): line for line in lines}
    rows = [["chosen by", "", *map(str, widths)]]
    for when, label in WHEN.items():
        for rival in dict.fromkeys(line["rival"] for line in lines):
            cells = [
                _cell(of[rival, w][when], FIGURE_3.get(when, {}).get(rival, {}).get(w)) if (rival, w) in of else ""
                for w in widths
            ]
            rows.append([_name(lines, rival), label, *cells])
    return rows


def _name(lines: Sequence[Mapping[str, Any]], rival: str) -> str:
    """Its label, with its seeds where others have more."""
    most, mine = max(line["seeds"] for line in lines), min(line["seeds"] for line in lines if line["rival"] == rival)
    return LABELS[rival] if mine == most else f"{LABELS[rival]} ({mine} of {most} seeds)"


def dense(lines: Sequence[Mapping[str, Any]]) -> str:
    """The accuracy of the wide networks."""
    return f"{_cell(lines[0]['dense'], DENSE)}, {counted(lines[0]['seeds'], 'seed')}"


def changed(results: Sequence[Mapping[str, Any]]) -> str:
    """In which settings the runs are not the paper's."""
    dense, tune = (Schedule(**results[0]["settings"][name]) for name in ("dense", "tune"))
    rest = {**results[0]["settings"], "kept": tuple(results[0]["settings"]["kept"]), "dense": dense, "tune": tune}
    found = differences(Settings(**rest))
    return ", ".join(f"{name} {ours}, not {paper}" for name, (paper, ours) in found.items()) or "the paper's"


def verdict(lines: Sequence[Mapping[str, Any]]) -> str:
    """At how many widths i-SpaSP is above the others, by the means."""
    asked = [("compensated", "before"), ("compensated", "compensated"), ("after", "after")]
    asked.append(("after_compensated", "after_compensated"))
    said = [f"- i-SpaSP {WHEN[mine]}: {_above(lines, mine, theirs)}." for mine, theirs in asked]
    return "\n".join(["At how many widths the mean of i-SpaSP is above that of another:", "", *said])


def _above(lines: Sequence[Mapping[str, Any]], mine: str, theirs: str) -> str:
    ours = {line["keep"]: line[mine]["mean"] for line in lines if line["rival"] == "ispasp"}
    found = []
    for rival in [name for name in LABELS if name != "ispasp"]:
        others = {line["keep"]: line[theirs]["mean"] for line in lines if line["rival"] == rival}
        both = ours.keys() & others.keys()
        if both:
            won = sum(ours[keep] > others[keep] for keep in both)
            found.append(f"above {LABELS[rival]} {WHEN[theirs]} at {won} of {len(both)}")
    return "; ".join(found) or "compared with nothing"


def _cell(value: Mapping[str, Any], printed: float | None) -> str:
    spread = "" if value["std"] is None else f" ± {value['std']:.2f}"
    return f"{value['mean']:.2f}{spread}" + ("" if printed is None else f" ({printed:g})")


def _printed(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def drawn(rows: Rows, title: str) -> Table:
    """For a terminal."""
    from rich.table import Table

    table = Table(*rows[0], title=title)
    for row in rows[1:]:
        table.add_row(*row)
    return table


def markdown(rows: Rows) -> str:
    """For a document."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


__all__ = [
    "accuracies", "changed", "dense", "drawn", "kept_heads", "markdown", "means", "synthetic", "times", "verdict",
]  # fmt: skip
