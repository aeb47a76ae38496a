"""What docs/speed.md shows of bench/results: how near forecasts come, what a target of latency is worth, and how much
faster networks are that have fewer multiply-adds."""

from __future__ import annotations

import statistics
from pathlib import Path

from kept import machine, shows

from niwaki.wording import counted


@shows("forecast", "How near forecasts come")
def forecasts(found: dict) -> str:
    """The table between the marks of the forecast."""
    rows = [
        "| network, runtime | median error of the speed-up | worst | of milliseconds, median | "
        "plans slower than dense | missed | profiling | on |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, f in found["figures"].items():
        rows.append(
            f"| {name} | {f['median_error_percent']:.1f} % | {f['worst_error_percent']:.1f} % | "
            f"{f['median_error_of_milliseconds_percent']:.1f} % | {f['slower_than_dense']} of {f['plans']} | "
            f"{f['wrong_about_that']} | {f['seconds']:.0f} s | {f['processor']}{_earlier(found['raw'][name])} |"
        )
    middle = statistics.median(f["median_error_percent"] for f in found["figures"].values())
    told = [
        "`python bench/forecast.py`, one thread. Ten plans a network that the profile has not seen;",
        "the error of the speed-up is that of the forecast time against the measured one, each over its dense",
        "network's, since the machine's speed drifts from one run to the next. The middle one of these networks has "
        f"{middle:.1f} %.",
    ]
    if any(_earlier(row) for row in found["raw"].values()):
        told.append("¹ Made before OpenVINO's layers counted their own time; not measured again since.")
    return "\n".join([*rows, "", *told])


def _earlier(row: dict) -> str:
    """A mark where layers were timed with the changes of layout around them."""
    return "" if row["place"]["runtime"] != "openvino" or "times" in row["place"] else " ¹"


@shows("latency_target", "What a target of latency is worth")
def targets(found: dict) -> str:
    """The table between the marks of the target."""
    rows = [
        "| network, runtime, goal | latency, as measured afterwards | multiply-adds | importance kept | even widths no "
        "slower: latency | multiply-adds | importance kept |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, f in found["figures"].items():
        even = (
            "– | – | –"
            if f["even"] is None
            else (f"{f['even_latency_share']:.3f} | {f['even_macs_share']:.3f} | {f['even_importance_share']:.3f}")
        )
        rows.append(
            f"| {name} | {f['latency_share']:.3f} | {f['macs_share']:.3f} | {f['importance_share']:.3f} | {even} |"
        )
    processors = {name: row.get("machine", found["environment"])["processor"] for name, row in found["raw"].items()}
    told = [
        f"`python bench/latency_target.py`, one thread, {_on(processors)}: shares of the dense network. Even widths",
        "are in multiples of 8, a twentieth more removed each time; shown is the one that keeps most of those that are",
        "no slower. Weights are random, so importance says how much of the score stays, not how accurate the network",
        "is.",
    ]
    return "\n".join([*rows, "", *told])


@shows("speed", "Fewer multiply-adds and measured speed")
def measured(found: dict) -> str:
    """The table between the marks of the measurement."""
    from niwaki.bench.speed import table
    from niwaki.bench.speed.study import Study
    from niwaki.bench.tables import markdown

    cells = found["raw"]
    busy = max(load for cell in cells for load in cell["load_average"])
    processors = {f"{c['network']}, {c['runtime']}, batch {c['batch']}": c["processor"] for c in cells}
    rounds = [cell["rounds"] for cell in cells if cell["rounds"]]
    told = [
        f"`niwaki bench speed`, one thread, {_on(processors)}; load average up to {busy:.1f}. In each of",
        f"{min(rounds, default=0)} to {max(rounds, default=0)} rounds every variant of a network is called once, in",
        "random order; faster: the median over the rounds of the dense network's time over the variant's; fewer: the",
        "dense network's multiply-adds over the variant's. Even widths are as they come; targets of multiply-adds have",
        "widths in multiples of 8; targets of latency are of 1/2 and 1/4 of the time, made for that runtime and batch.",
        "The last column compares latency with even widths, in multiples of 8, that keep no more importance: how many",
        "times as fast. Weights are random.",
    ]
    there = {(cell["network"], cell["runtime"], cell["batch"]) for cell in cells}
    asked = Study(Path("runs")).cells
    made = [each for each in asked if (each.network, each.runtime, each.batch) in there]
    shown = {(each.network, each.runtime, each.batch) for each in made}
    cells = [c for c in cells if (c["network"], c["runtime"], c["batch"]) in shown]
    rows = markdown(table.rows(cells, made))
    return "\n".join(
        [
            rows,
            "",
            *table.sums(cells),
            *_missing(asked, made),
            "",
            *told,
            "",
            *(f"- {why}" for why in table.reasons(cells)),
        ]
    ).rstrip()


def _on(processors: dict[str, str]) -> str:
    """On what rows were measured, by their names; if on several, which where."""
    by_name: dict[str, list[str]] = {}
    for name, processor in processors.items():
        by_name.setdefault(processor, []).append(name)
    most, *others = sorted(by_name, key=lambda name: -len(by_name[name]))
    rest = "; ".join(f"{name}: {', '.join(by_name[name])}" for name in others)
    return f"{most} (but {rest})" if rest else most


def _missing(asked: list, made: list) -> list[str]:
    """What was not run, runtime by runtime."""
    left: dict[tuple[str, int], list[str]] = {}
    for each in asked:
        if each not in made:
            left.setdefault((each.runtime, each.batch), []).append(each.network)
    networks = len({each.network for each in asked})
    return [
        f"Not run: {runtime}, batch {batch}: {'all networks' if len(names) == networks else ', '.join(names)}."
        for (runtime, batch), names in left.items()
    ]


@shows("macs", "Multiply-adds against public counters")
def counters(found: dict) -> str:
    """The table between the marks of the counters."""
    f = found["figures"]
    rows = [
        "| network | multiply-adds | torch's counter | what it has no formula for | left over | ptflops, over ours |",
        "|---|--:|--:|---|--:|---|",
    ]
    for name, row in found["raw"].items():
        unknown = ", ".join(f"`{kernel}` {count:,}" for kernel, count in row["unknown_to_torch"].items()) or "–"
        rows.append(
            f"| {name} | {row['niwaki']:,} | {_same(row)} | {unknown} | {row['unexplained']:,} | {_theirs(row)} |"
        )
    told = [
        f"`python bench/macs.py`, {counted(f['networks'], 'network')}, {machine(found)}. torch's is",
        f"`torch.utils.flop_counter`, half of its operations: {f['equal_to_torch']} are equal. It counts kernels",
        "that it has no formula for as nothing. Those are found as they run and counted from the shapes that they are",
        f"given; with them {f['explained']} more are equal, and {f['unexplained']} are not. On the meta device",
        "attention is made of plain products, which it knows. It counts no biases, nor do we.",
    ]
    if f["ptflops"]:
        told.append(
            f"ptflops {f['ptflops']} (its counter of ATen operations) counts the biases of products as well, and the "
            f"same kernels not: so {f['ptflops_explained']} of {f['ptflops_networks']} differences are explained."
        )
    return "\n".join([*rows, "", *told])


def _same(row: dict) -> str:
    return "the same" if row["torch"] == row["niwaki"] else f"{row['torch']:,}"


def _theirs(row: dict) -> str:
    """The difference, and what it is made of."""
    if row["ptflops"] is None:
        return "–"
    parts = [("biases", row["biases"]), ("kernels as before", -sum(row["unknown_to_torch"].values()))]
    parts += [(f"`{name}`", -n) for name, n in row["unknown_to_ptflops"].items()]
    parts.append(("left over", row["ptflops_unexplained"]))
    return ", ".join(f"{name} {n:+,}" for name, n in parts if n) or "0"
