"""What docs/speed.md shows of bench/results: how near forecasts come, what a target of latency is worth, and how much
faster networks are that have fewer multiply-adds."""

from __future__ import annotations

import statistics
from pathlib import Path

from kept import machine, shows


@shows("forecast", "How near forecasts come")
def forecasts(found: dict) -> str:
    """The table between the marks of the forecast."""
    rows = [
        "| network, runtime | median error of the speed-up | worst | of milliseconds, median | "
        "plans slower than dense | missed | profiling |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, f in found["figures"].items():
        rows.append(
            f"| {name} | {f['median_error_percent']:.1f} % | {f['worst_error_percent']:.1f} % | "
            f"{f['median_error_of_milliseconds_percent']:.1f} % | {f['slower_than_dense']} of {f['plans']} | "
            f"{f['wrong_about_that']} | {f['seconds']:.0f} s |"
        )
    middle = statistics.median(f["median_error_percent"] for f in found["figures"].values())
    told = [
        f"`python bench/forecast.py`, one thread, {machine(found)}. Ten plans a network that the profile has not seen;",
        "the error of the speed-up is that of the forecast time against the measured one, each over its dense",
        "network's, since the machine's speed drifts from one run to the next. The middle one of these networks has "
        f"{middle:.1f} %.",
    ]
    return "\n".join([*rows, "", *told])


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
    told = [
        f"`python bench/latency_target.py`, one thread, {machine(found)}: shares of the dense network. Even widths are",
        "in multiples of 8, a twentieth more removed each time; shown is the one that keeps most of those that are no",
        "slower. Weights are random, so importance says how much of the score stays, not how accurate the network is.",
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
    rounds = [cell["rounds"] for cell in cells if cell["rounds"]]
    told = [
        f"`niwaki bench speed`, one thread, {machine(found)}; load average up to {busy:.1f}. In each of",
        f"{min(rounds, default=0)} to {max(rounds, default=0)} rounds every variant of a network is called once, in",
        "random order; faster: the median over the rounds of the dense network's time over the variant's; fewer: the",
        "dense network's multiply-adds over the variant's. Even widths are as they come; targets of multiply-adds have",
        "widths in multiples of 8; targets of latency are of 1/2 and 1/4 of the time, made for that runtime and batch.",
        "The last column compares latency with even widths, in multiples of 8, that keep no more importance: how many",
        "times as fast. Weights are random.",
    ]
    shown = markdown(table.rows(cells, Study(Path("runs")).cells))
    return "\n".join(
        [shown, "", *table.sums(cells), "", *told, "", *(f"- {why}" for why in table.reasons(cells))]
    ).rstrip()
