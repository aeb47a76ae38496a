"""How long does it take to trace a ResNet-50 at 224 x 224?   python bench/trace_time.py [--runs 9]

In one process, medians; with and without the dry run; also the first call, which pays for imports.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from ledger import keep

import niwaki as nk
from niwaki.vision.resnet_imagenet import resnet50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    torch.manual_seed(0)
    model, inputs = resnet50(), torch.zeros(1, 3, 224, 224)
    first = _seconds(model, inputs, prove=True)
    proven, plain, planning = [], [], []
    for _ in range(runs):
        proven.append(_seconds(model, inputs, prove=True))
        plain.append(_seconds(model, inputs, prove=False))
        start = time.perf_counter()
        nk.plan(nk.trace(model, inputs, prove=False), target=nk.Macs(0.5, round_to=8))
        planning.append(time.perf_counter() - start - plain[-1])
    graph = nk.trace(model, inputs)
    figures = {
        "trace_s": round(statistics.median(proven), 3),
        "trace_without_dry_run_s": round(statistics.median(plain), 3),
        "first_trace_in_process_s": round(first, 3),
        "plan_to_half_macs_s": round(statistics.median(planning), 3),
        "groups": len(graph.groups),
        "coverage_params": round(graph.coverage.params, 4),
        "coverage_macs": round(graph.coverage.macs, 4),
        "runs": runs,
    }
    keep("trace_time", figures, {"proven": proven, "without_dry_run": plain, "planning": planning})


def _seconds(model: torch.nn.Module, inputs: torch.Tensor, *, prove: bool) -> float:
    start = time.perf_counter()
    nk.trace(model, inputs, prove=prove)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
