"""A target of measured latency beside even widths.   python bench/latency_target.py [--runtime openvino] [--remain 0.5]

For each network: the plan of nk.Latency, then even plans (in multiples of 8) from 10 to 75 % removed, all timed beside
the dense network in one interleaved run, other than those in which the plan was made. Importance is the sum of L1 norms
over the mean of each group, of random weights: how much of it stays at equal speed says what the choice of widths is
worth, and nothing about accuracy. A network's row is kept when it is done; what is there is not made again.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

from rowwise import go_on

import niwaki as nk
from niwaki.bench.speed.importance import Importance
from niwaki.bench.speed.subjects import SUBJECTS
from niwaki.errors import NiwakiError

RUNS = 20
SHARES = tuple(k / 20 for k in range(2, 16))
NETWORKS = ("ResNet-18", "ResNet-50", "MobileNetV2", "MiniLM-L6", "BERT-base", "ViT-B/16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", default="onnxruntime", choices=nk.measure.RUNTIMES)
    parser.add_argument("--remain", type=float, default=0.5)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--network", nargs="+", default=list(NETWORKS), choices=list(SUBJECTS))
    options = parser.parse_args()
    wanted = {
        f"{name}, {options.runtime}, batch {options.batch}, {options.remain}": partial(
            one, name, options.runtime, options.batch, options.remain
        )
        for name in options.network
    }
    go_on("latency_target", wanted, figures)


def figures(row: dict[str, Any]) -> dict[str, Any]:
    """Shares of the dense network; of even plans, the one that keeps most of those that are no slower than ours."""
    ours = row["plans"][0]
    quick = [p for p in row["plans"][1:] if p["ms"] <= ours["ms"]]
    best = max(quick, key=lambda p: p["importance"], default=None)
    return {
        "latency_share": round(ours["ms"] / row["dense_ms"], 3),
        "macs_share": round(ours["macs"], 3),
        "importance_share": round(ours["importance"], 3),
        "even": best and best["plan"],
        "even_latency_share": best and round(best["ms"] / row["dense_ms"], 3),
        "even_macs_share": best and round(best["macs"], 3),
        "even_importance_share": best and round(best["importance"], 3),
        "seconds": round(row["seconds"], 1),
        "processor": row["machine"]["processor"],
    }


def one(name: str, runtime: str, batch: int, remain: float) -> dict[str, Any]:
    subject = SUBJECTS[name]
    model, inputs = subject.build(), subject.inputs(batch)
    graph = nk.trace(model, inputs)
    start = time.perf_counter()
    plans = {"latency": nk.plan(graph, nk.scores.L1(), nk.Latency(remain, runtime=runtime))}
    seconds = time.perf_counter() - start
    plans |= dict(_even(graph))
    models = {"dense": model, **{label: nk.cut(model, plan, config=False) for label, plan in plans.items()}}
    times = nk.measure.latency(models, inputs, runtime=runtime, runs=RUNS)
    worth = Importance(graph)
    rows = [
        {
            "plan": label,
            "ms": times[label].median_ms,
            "macs": graph.macs({n: c.removed for n, c in plan.choices.items()}) / graph.macs(),
            "importance": worth.kept(plan),
            "widths": {n: [c.size, c.kept] for n, c in plan.choices.items()} if label == "latency" else None,
        }
        for label, plan in plans.items()
    ]
    return {"seconds": seconds, "dense_ms": times["dense"].median_ms, "plans": rows}


def _even(graph: Any) -> Any:
    for share in SHARES:
        try:
            yield f"{share:.0%} removed", nk.plan(graph, nk.scores.L1(), nk.Ratio(share, round_to=8))
        except NiwakiError as trouble:
            print(f"{share}: {trouble}")


if __name__ == "__main__":
    main()
