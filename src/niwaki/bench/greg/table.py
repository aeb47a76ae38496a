"""All results of a folder in one table; what was not run says so."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from niwaki.bench.greg.contestants import CONTESTANTS
from niwaki.bench.greg.rows import Row
from niwaki.bench.results import read_all
from niwaki.errors import BadInput

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    "row", "contestant", "accuracy, %", "best epoch, %", "as cut, %", "paper, %", "MACs", "parameters removed",
    "epochs", "minutes", "core minutes", "latency, ms",
)  # fmt: skip
Line = dict[str, Any]


def read(folder: Path) -> list[dict[str, Any]]:
    """The results of all jobs in a folder."""
    return read_all(folder / "results")


def joined(old: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The jobs of both, the new one where both have it, by row, contestant and seed.

    Raises:
        BadInput: jobs of one row are of different settings, base networks or images, so that no mean may be taken.
    """
    by_name = {(job["row"], job["contestant"], job["seed"]): job for job in (*old, *new)}
    jobs = [by_name[name] for name in sorted(by_name)]
    for row, of_row in itertools.groupby(jobs, key=lambda job: job["row"]):
        first, *others = of_row
        for job, (key, asked) in itertools.product(others, _asked(first).items()):
            if _asked(job)[key] != asked:
                raise BadInput(
                    f"jobs of row {row} cannot stand in one table: {first['contestant']} of seed {first['seed']} is of "
                    f"{key} {asked}, {job['contestant']} of seed {job['seed']} of {_asked(job)[key]}. Run both alike, "
                    "or keep them apart."
                )
    return jobs


def _asked(job: Mapping[str, Any]) -> dict[str, Any]:
    """What jobs must have in common. The base's accuracy is measured, and may differ by the machine."""
    return {"settings": job["settings"], "images": job["images"], "base": job["base"]["sha256"]}


def lines(results: Iterable[Mapping[str, Any]], rows: Iterable[Row], contestants: Sequence[str]) -> list[Line]:
    """One line for every row and contestant: means over the seeds that are there."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        found[result["row"], result["contestant"]].append(result)
    return [_line(row, name, found[row.name, name]) for row in rows for name in contestants]


def _line(row: Row, contestant: str, found: Sequence[Mapping[str, Any]]) -> Line:
    line: Line = {
        "row": row.name,
        "contestant": contestant,
        "printed": row.printed.get(contestant),
        "seeds": len(found),
    }
    if not found:
        return line
    for key in ("accuracy", "best"):
        values = [100 * each[key] for each in found]
        line[key] = {"mean": statistics.fmean(values), "std": _std(values), "values": values}
    first = found[0]
    line |= {key: first[key] for key in ("speedup", "macs", "params", "params_removed", "base", "settings", "epochs")}
    for key in ("seconds", "core_seconds"):
        # Older results have no core seconds.
        line[key] = {
            phase: statistics.median([each.get(key, {}).get(phase, 0.0) for each in found])
            for phase in ("prune", "retrain")
        }
    line["pruned"] = statistics.fmean(100 * each["pruned"] for each in found)
    line["latency_ms"] = {
        which: statistics.median([each["latency_ms"][which] for each in found]) for which in ("dense", "small")
    }
    return line


def _std(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def cells(line: Mapping[str, Any]) -> list[str]:
    """What a table shows of a line, in the order of ``COLUMNS``."""
    label = CONTESTANTS[line["contestant"]].label
    paper = "" if line["printed"] is None else f"{line['printed']:.2f}"
    if not line["seeds"]:
        return [line["row"], label, "not run", "", "", paper, *[""] * (len(COLUMNS) - 6)]
    epochs = line["epochs"]
    return [
        line["row"],
        f"{label} ({line['seeds']})",
        _with_spread(line["accuracy"]),
        _with_spread(line["best"]),
        "" if CONTESTANTS[line["contestant"]].fresh else f"{line['pruned']:.1f}",
        paper,
        f"{line['speedup']:.2f}x less",
        f"{line['params_removed']:.1%}",
        f"{epochs['prune']:.1f} + {epochs['retrain']}",
        _minutes(line["seconds"]),
        _minutes(line["core_seconds"]),
        f"{line['latency_ms']['dense']:.2f} → {line['latency_ms']['small']:.2f}",
    ]


def _minutes(seconds: Mapping[str, float]) -> str:
    return f"{seconds['prune'] / 60:.1f} + {seconds['retrain'] / 60:.1f}" if any(seconds.values()) else ""


def _with_spread(value: Mapping[str, Any]) -> str:
    return f"{value['mean']:.2f}" + (f" ± {value['std']:.2f}" if value["std"] is not None else "")


def drawn(found: Sequence[Line]) -> Table:
    """For a terminal."""
    from rich.table import Table

    table = Table(*COLUMNS, title="accuracy after the last epoch; in brackets the number of seeds")
    for line in found:
        table.add_row(*cells(line))
    return table


def markdown(found: Sequence[Line]) -> str:
    """For a document."""
    rows = [list(COLUMNS), ["---"] * len(COLUMNS), *(cells(line) for line in found)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


__all__ = ["COLUMNS", "Line", "cells", "drawn", "joined", "lines", "markdown", "read"]
