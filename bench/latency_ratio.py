"""Multiply-adds against measured speed on ResNet-50 shapes.   python bench/latency_ratio.py [--runs 15]

Dense against a third of the multiply-adds (widths rounded to 8), in PyTorch and ONNX Runtime, one thread, interleaved,
medians; random weights, so this says nothing about accuracy.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from ledger import keep

import niwaki as nk
from niwaki.vision.resnet_imagenet import resnet50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    torch.manual_seed(0)
    dense = resnet50().eval()
    example = torch.zeros(1, 3, 224, 224)
    plan = nk.plan(nk.trace(dense, example), target=nk.Macs(1 / 3, round_to=8))
    small = nk.cut(dense, plan)
    figures = {"macs_ratio": round(nk.measure.macs(dense, example) / nk.measure.macs(small, example), 3)}
    raw = {}
    for batch in options.batches:
        images = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        for runtime, calls in (("pytorch", _eager(dense, small, images)), ("onnxruntime", _onnx(dense, small, images))):
            times = nk.measure.interleaved(calls, runs=options.runs)
            figures[f"{runtime}_batch{batch}_speedup"] = round(times["dense"].median_ms / times["small"].median_ms, 3)
            raw[f"{runtime}_batch{batch}"] = {name: asdict(t) for name, t in times.items()}
    keep("latency_ratio", figures, raw)


def _eager(dense, small, images):
    torch.set_num_threads(1)

    def call(model):
        with torch.inference_mode():
            model(images)

    return {"dense": lambda: call(dense), "small": lambda: call(small)}


def _onnx(dense, small, images):
    folder = Path(tempfile.mkdtemp())
    sessions = {
        name: nk.export.onnx_session(nk.export.onnx(model, images, folder / f"{name}.onnx"))
        for name, model in (("dense", dense), ("small", small))
    }
    return {name: lambda run=run: run(images) for name, run in sessions.items()}


if __name__ == "__main__":
    main()
