"""What do a trace and a plan cost for models of real size?

    python bench/big_models.py [--only NAME ...]

On the meta device, without weights (``bench/big_cases.py`` lists the models): Llama-2 with 7 and 70 billion parameters,
both widths at other depths too, with a line fitted by least squares; and one published size of each well-known family.
Each model has a child of its own, forked from a parent that has traced a tiny Llama and another tiny model. Memory is
the kernel's high-water mark of resident memory in that child over what was resident before, in the first trace. Where
that takes under 10 s, two more follow, and the median of the three is the time; else it is the first. Plans are made to
two goals, and the slower one counts; scores are random, as there are no weights to score. Lines go through first
traces. Processor time stands beside them: where it is far less, the machine was busy and the run should be repeated.

The plot goes to ``bench/results/big_models.svg``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from big_cases import CASES, LINES, Case
from forked import DONE, Memory, in_child, told
from ledger import RESULTS, keep
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import niwaki as nk
from niwaki.errors import NiwakiError
from niwaki.graph import Graph
from niwaki.report import canvas
from niwaki.targets import Target
from niwaki.testing.families import family

REPEATS, REPEATED_UNDER = 2, 10.0
PATIENCE = 150
WARM = ("dlrm", "llama")
LINED = {"first_s": "trace, s", "plan_s": "plan, s", "memory_mib": "peak, MiB"}
"""What a line is fitted to, and its name in the plot."""
CPU = "first_cpu_s"
"""Not drawn: where it is far below the time by the clock, the machine was busy."""
GOALS: dict[str, Target] = {"Macs(0.5)": nk.Macs(0.5), "Ratio(0.5)": nk.Ratio(0.5)}
PLOT = RESULTS / "big_models.svg"


def work(case: Case) -> Iterator[dict[str, Any]]:
    """Everything about one model, in the order in which it is found."""
    warnings.simplefilter("ignore")
    model, inputs = case.build(), case.inputs()
    assert model is not None
    yield {"params": sum(p.numel() for p in model.parameters())}
    memory, cpu = Memory(), time.process_time()
    first, graph = _traced(model, inputs)
    cpu = time.process_time() - cpu
    yield {"first_s": first, CPU: cpu, "memory_mib": memory.growth(), "trace_s": first, **_found(graph)}
    plans = {name: _planned(graph, target) for name, target in GOALS.items()}
    made = all("trouble" not in plan for plan in plans.values())
    yield {"plans": plans, "plan_s": max(plan["s"] for plan in plans.values()) if made else None}
    del graph
    if case.listed and first < REPEATED_UNDER:
        seconds = [_traced(model, inputs)[0] for _ in range(REPEATS)]
        yield {"repeats_s": seconds, "trace_s": statistics.median([first, *seconds])}


def _traced(model: torch.nn.Module, inputs: Any) -> tuple[float, Graph]:
    start = time.perf_counter()
    graph = nk.trace(model, inputs)
    return time.perf_counter() - start, graph


def _found(graph: Graph) -> dict[str, Any]:
    """What the trace offers, and what it withdrew."""
    return {
        "groups": dict(Counter(group.kind for group in graph.groups).most_common()),
        "units": sum(map(len, graph.groups)),
        "reach_params": graph.coverage.params,
        "reach_macs": graph.coverage.macs,
        "withdrawn": len(graph.denied),
        "withdrawn_first": next((f"{name}: {reason}"[:300] for name, reason in graph.denied.items()), ""),
    }


def _planned(graph: Graph, target: Target) -> dict[str, Any]:
    memory, start = Memory(), time.perf_counter()
    try:
        plan = nk.plan(graph, nk.scores.Random(0), target)
    except NiwakiError as trouble:  # where too little can go
        return {"s": time.perf_counter() - start, "trouble": told(trouble)}
    seconds, peak = time.perf_counter() - start, memory.growth()
    chosen = {name: choice.removed for name, choice in plan.choices.items()}
    macs, params = (cost(chosen) / cost() for cost in (graph.macs, graph.params))
    return {"s": seconds, "memory_mib": peak, "macs_left": macs, "params_left": params}


def measure(case: Case) -> dict[str, Any]:
    """One row."""
    about = {"name": case.name, "label": case.label, "line": case.line, "layers": case.layers, "listed": case.listed}
    return {**about, **in_child(work, case, seconds=PATIENCE)}


def straight(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Lines through times and memory against layers, by width; how far the worst point is from each."""
    found: dict[str, Any] = {}
    for label in LINES:
        here = [row for row in rows if row["line"] == label and row.get("plan_s") is not None]
        if len(here) > 2:
            x = [row["layers"] for row in here]
            found[label] = {"layers": x, **{key: _line(x, [row[key] for row in here]) for key in (*LINED, CPU)}}
    return found


def _line(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    slope, start = (float(v) for v in np.polyfit(x, y, 1))
    fitted = start + slope * np.array(x)
    worst = float(np.max(np.abs(np.array(y) - fitted) / np.abs(fitted)))
    return {
        "values": [round(v, 3) for v in y],
        "per_layer": round(slope, 4),
        "at_0": round(start, 3),
        "worst_deviation": round(worst, 4),
    }


def aims(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was aimed at, what came out, and whether that will do."""
    found = []
    for row in rows:
        limit = CASES[row["name"]].limit
        if limit is None:
            continue
        memory = row.get("memory_mib")
        gigabytes = None if memory is None else memory * 2**20 / 1e9
        got = {"trace_s": row.get("trace_s"), "plan_s": row.get("plan_s"), "memory_gb": gigabytes}
        for key, most in asdict(limit).items():
            value = got[key]
            if most:
                met = row["status"] == DONE and value is not None and value < most
                rounded = None if value is None else round(value, 3)
                found.append({"model": row["label"], "what": key, "below": most, "measured": rounded, "met": met})
    return found


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The targets, the lines, and all models in a few numbers."""
    listed = [row for row in rows if row["listed"]]
    done = [row for row in listed if row["status"] == DONE]
    return {
        "targets": aims(rows),
        "lines": straight(rows),
        "models": len(listed),
        "failed": {row["name"]: row["trouble"] for row in listed if row["status"] != DONE},
        "no_plan": {row["name"]: trouble for row in done if (trouble := _no_plan(row))},
        "trace_s_median": round(statistics.median(row["trace_s"] for row in done), 3) if done else None,
        "memory_mib_median": round(statistics.median(row["memory_mib"] for row in done), 1) if done else None,
        "all_reached": sum(row["reach_params"] > 0.999 for row in done),
        "withdrawn": {row["name"]: row["withdrawn"] for row in done if row["withdrawn"]},
    }


def _no_plan(row: dict[str, Any]) -> dict[str, str]:
    return {goal: plan["trouble"] for goal, plan in row["plans"].items() if "trouble" in plan}


COLUMNS = ("parameters", "trace, s", "first, s", "cpu, s", "peak, MiB", "plan, s", "parameters, %", "MACs, %")


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """All models, a row each."""
    shown = Table(title="Real sizes without weights")
    shown.add_column("model")
    for column in COLUMNS:
        shown.add_column(column, justify="right")
    shown.add_column("groups")
    for row in rows:
        label = row["label"] if row["listed"] else f"{row['label']}, {row['layers']} layers"
        shown.add_row(label, *_cells(row), f"[red]{trouble}[/]" if (trouble := row.get("trouble")) else _groups(row))
    return shown


def _cells(row: dict[str, Any]) -> list[str]:
    shares = [f"{100 * row[key]:.0f}" if key in row else "–" for key in ("reach_params", "reach_macs")]
    times = [_number(row.get(key)) for key in ("trace_s", "first_s", CPU, "memory_mib")]
    return [_size(row.get("params")), *times, _number(row.get("plan_s")), *shares]


def _groups(row: dict[str, Any]) -> str:
    said = ", ".join(f"{count} {kind}" for kind, count in row["groups"].items())
    return f"{said}; {row['withdrawn']} withdrawn" if row["withdrawn"] else said


def _size(params: int | None) -> str:
    if params is None:
        return "–"
    return f"{params / 1e9:.1f} B" if params >= 1e9 else f"{params / 1e6:.1f} M"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def plot(lines: dict[str, Any]) -> str:
    """Seconds and MiB against layers, with the fitted lines, as SVG."""
    with canvas.drawing():
        figure, panels = canvas.calm(440, len(LINED), sharex=True)
        for axes, (key, unit) in zip(panels, LINED.items(), strict=True):
            for position, (label, found) in enumerate(lines.items()):
                ends, line = [0, max(found["layers"])], found[key]
                shade = canvas.ink(canvas.colour(position))
                axes.plot(ends, [line["at_0"] + line["per_layer"] * x for x in ends], color=shade, linewidth=0.9)
                axes.plot(found["layers"], line["values"], "o", color=shade, markersize=4.5, label=f"{label} width")
            axes.set(ylabel=unit, ylim=(0, None), xlim=(0, None))
        panels[0].legend(loc="upper left")
        panels[-1].set_xlabel("layers")
        return canvas.svg(figure, "Time and memory of a trace, and time of a plan, against the number of layers")


def markdown(found: dict[str, Any]) -> str:
    """A compact table for README.md, from the kept result."""
    head = ["model", "parameters", "trace, s", "peak memory", "plan, s", "reached: parameters, MACs", "groups"]
    lines = [f"| {' | '.join(head)} |", "|---|--:|--:|--:|--:|--:|---|"]
    lines += [_row(row) for row in found["raw"]["rows"] if row["listed"]]
    said = [_sentence(label, line) for label, line in found["figures"]["lines"].items()]
    missed = [f"{t['model']}: {t['what']} {t['measured']}, not {t['below']}" for t in found["figures"]["targets"]]
    missed = [text for text, t in zip(missed, found["figures"]["targets"], strict=True) if not t["met"]]
    return "\n".join([*lines, "", *said, *([f"Aimed at and missed: {'; '.join(missed)}."] if missed else [])])


def _row(row: dict[str, Any]) -> str:
    trouble = f"fails: {row['trouble'].partition(':')[0]}" if row["status"] != DONE else ""
    if "trace_s" not in row:
        return f"| {row['label']} | {_size(row.get('params'))} | {trouble} | | | | |"
    memory = f"{row['memory_mib']:,.0f} MiB"
    reach = f"{row['reach_params']:.0%}, {row['reach_macs']:.0%}"
    cells = [row["label"], _size(row["params"]), _number(row["trace_s"]), memory, _number(row.get("plan_s")), reach]
    return f"| {' | '.join([*cells, '; '.join(filter(None, (_groups(row), trouble)))])} |"


def _sentence(label: str, line: dict[str, Any]) -> str:
    trace, plan, memory = (line[key] for key in LINED)
    worst = ", ".join(f"{line[key]['worst_deviation']:.0%} ({name.split(',')[0]})" for key, name in LINED.items())
    return (
        f"{label} width, {min(line['layers'])} to {max(line['layers'])} layers: a layer takes "
        f"{trace['per_layer']:.2f} s to trace, {plan['per_layer']:.3f} s to plan and {memory['per_layer']:.0f} MiB; "
        f"the worst points are {worst} off a straight line."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=CASES, help="these models; the result is printed and not kept"
    )
    only = parser.parse_args().only
    warm_up()
    chosen = [CASES[name] for name in only] if only else list(CASES.values())
    rows = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("", total=len(chosen))
        for case in chosen:
            bar.update(task, description=f"{case.name:18}")
            rows.append(measure(case))
            bar.advance(task)
    Console(width=180).print(table(rows))
    if only:
        print(json.dumps({"figures": summary(rows), "rows": rows}, indent=1))
        return
    keep("big_models", summary(rows), {"settings": _settings(), "rows": rows})
    PLOT.write_text(plot(straight(rows)) + "\n")
    print(f"kept in {PLOT}")


def warm_up() -> None:
    """What the first trace in a process pays for, once for all children."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in WARM:
        tiny = family(name)
        nk.trace(tiny.build(), tiny.inputs())


def _settings() -> dict[str, Any]:
    return {
        "device": "meta",
        "threads": torch.get_num_threads(),
        "memory": "VmHWM over VmRSS in a forked child, first trace",
        "repeats": REPEATS,
        "repeated_under_s": REPEATED_UNDER,
        "score": "Random(0)",
        "goals": list(GOALS),
        "patience_s": PATIENCE,
        "warm": WARM,
    }


if __name__ == "__main__":
    main()
