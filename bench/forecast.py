"""How near a forecast comes to what is measured.   python bench/forecast.py [--runtime onnxruntime] [--batch 1]

For each network: a profile, then ten plans that it has not seen (even ones, ones by multiply-adds and by parameters,
and ones with another share in every group), each forecast, cut, and timed beside the dense network in one interleaved
run. A network's row is kept when it is done, with the machine that made it; what is there is not made again, unless
with --again.
"""

from __future__ import annotations

import argparse
import random
import statistics
from dataclasses import asdict
from functools import partial
from typing import Any

from rowwise import go_on

import niwaki as nk
from niwaki.bench.speed.subjects import SUBJECTS
from niwaki.errors import NiwakiError
from niwaki.forecast import profile

RUNS = 15
SHARES = (0.0, 0.25, 0.3, 0.5, 0.75)
TARGETS: dict[str, Any] = {
    "25 % removed": nk.Ratio(0.25),
    "40 % removed": nk.Ratio(0.4),
    "60 % removed": nk.Ratio(0.6),
    "half the multiply-adds": nk.Macs(0.5, scope="global"),
    "30 % of the multiply-adds, in 8s": nk.Macs(0.3, scope="global", round_to=8),
    "60 % of the parameters": nk.Params(0.6),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", default="onnxruntime", choices=nk.measure.RUNTIMES)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--network", nargs="+", default=list(SUBJECTS), choices=list(SUBJECTS))
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    wanted = {
        f"{name}, {options.runtime}, batch {options.batch}": partial(one, name, options.runtime, options.batch)
        for name in options.network
    }
    go_on("forecast", wanted, figures, again=options.again)


def figures(row: dict[str, Any]) -> dict[str, Any]:
    """Errors of the speed-up: of the forecast time over the measured one, dense over dense."""
    errors = [
        abs(p["forecast_ms"] / row["dense_ms_profile"] * row["dense_ms"] / p["measured_ms"] - 1) for p in row["plans"]
    ]
    plain = [abs(p["forecast_ms"] / p["measured_ms"] - 1) for p in row["plans"]]
    wrong = [
        p for p in row["plans"] if (p["forecast_ms"] < row["dense_ms_profile"]) != (p["measured_ms"] < row["dense_ms"])
    ]
    return {
        "median_error_percent": round(100 * statistics.median(errors), 1),
        "worst_error_percent": round(100 * max(errors), 1),
        "median_error_of_milliseconds_percent": round(100 * statistics.median(plain), 1),
        "plans": len(errors),
        "slower_than_dense": sum(p["measured_ms"] >= row["dense_ms"] for p in row["plans"]),
        "wrong_about_that": len(wrong),
        "seconds": round(row["seconds"], 1),
        "processor": row["machine"]["processor"],
    }


def one(name: str, runtime: str, batch: int) -> dict[str, Any]:
    import time

    subject = SUBJECTS[name]
    model, inputs = subject.build(), subject.inputs(batch)
    graph = nk.trace(model, inputs)
    start = time.perf_counter()
    forecast = profile(model, inputs, runtime=runtime, graph=graph, cache=None)
    seconds = time.perf_counter() - start
    plans = {**dict(_by_target(graph)), **dict(_mixed(graph))}
    models = {"dense": model, **{label: nk.cut(model, plan, config=False) for label, plan in plans.items()}}
    times = nk.measure.latency(models, inputs, runtime=runtime, runs=RUNS)
    rows = [
        {
            "plan": label,
            "forecast_ms": forecast.ms(plan),
            "measured_ms": times[label].median_ms,
            "macs": graph.macs({n: c.removed for n, c in plan.choices.items()}) / graph.macs(),
        }
        for label, plan in plans.items()
    ]
    return {
        "kind": subject.kind,
        "seconds": seconds,
        "dense_ms_profile": forecast.dense_ms,
        "dense_ms": times["dense"].median_ms,
        "place": forecast.place.to_json(),
        "coefficients": asdict(forecast.coefficients),
        "anchors": [{"name": a.name, "ms": a.ms, **asdict(a.load)} for a in forecast.anchors],
        "plans": rows,
    }


def _by_target(graph: Any) -> Any:
    for label, target in TARGETS.items():
        try:
            yield label, nk.plan(graph, nk.scores.L1(), target)
        except NiwakiError as trouble:
            print(f"{label}: {trouble}")


def _mixed(graph: Any) -> Any:
    rng = random.Random(0)
    for k in range(4):
        shares = {g.name: rng.choice(SHARES) for g in graph.groups}
        yield f"mixed {k}", nk.plan(graph, nk.scores.L1(), nk.Ratio(shares))


if __name__ == "__main__":
    main()
