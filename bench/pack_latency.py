"""Latency of packed encoders: dense against packed, by how the zeros lie.

python bench/pack_latency.py [--weights FOLDER] [--layers 2] [--sparsities 0.9 0.95] [--batches 1 16] [--device cpu]

Layers of MiniLM-L6 (width 384, 12 heads, 1536 neurons, sequences of 64), from its config with random weights or from a
Hugging Face folder. Every matrix of its layers is masked to the same sparsity in four ways: by magnitude alone; all
survivors within the strongest rows and columns, of which they fill a half or all; and four of five survivors there, the
fifth wherever it is largest. What is one thing in two matrices (a neuron, a value dimension) is chosen for both. Forms
are measured for each batch size; then all models run in turns on one thread, in PyTorch and ONNX Runtime. The medians
count; the fastest runs stand beside them, since on a busy machine a median holds what others took. Random weights say
nothing about accuracy, and the ratios nothing about depth.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from ledger import keep
from torch import Tensor, nn

import niwaki as nk

SEQUENCE = 64
MASKS: dict[str, tuple[float, float] | None] = {
    "by magnitude": None,
    "core half full": (2.0, 1.0),
    "four fifths in a full core": (1.0, 0.8),
    "full core": (1.0, 1.0),
}
QUERY, KEY, VALUE = (f"attention.self.{name}" for name in ("query", "key", "value"))
OUT, UP, DOWN = "attention.output.dense", "intermediate.dense", "output.dense"
LAYERS = (QUERY, KEY, VALUE, OUT, UP, DOWN)
TIED = (((QUERY, 0), (KEY, 0)), ((VALUE, 0), (OUT, 1)), ((UP, 0), (DOWN, 1)))
RUNS = {1: (15, 61), 16: (5, 13)}
"""By batch size: how often each form of a layer is timed, and each model."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", help="a Hugging Face folder of an encoder; random weights without it")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.9, 0.95])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    dense = _encoder(options.weights, options.layers).to(options.device)
    figures: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    for batch in options.batches:
        ids = torch.randint(1000, (batch, SEQUENCE), generator=torch.Generator().manual_seed(0)).to(options.device)
        models, told = {"dense": dense}, {}
        for sparsity in options.sparsities:
            for name, shape in MASKS.items():
                label = f"{sparsity:.0%} {name}"
                models[label], told[label] = _packed(_masked(dense, sparsity, shape), ids)
                print(f"{time.perf_counter() - start:.0f} s: packed {label} for batch {batch}", flush=True)
        times = {"pytorch": _eager(models, ids)}
        if options.device == "cpu":
            times["onnxruntime"] = _onnx(models, ids, told)
        for runtime, found in times.items():
            here = f"{runtime} batch {batch}"
            figures[here] = {n: _faster(found["dense"], t) for n, t in found.items()}
            raw[here] = {n: asdict(t) for n, t in found.items()}
            print(here, figures[here], flush=True)
        raw[f"packing batch {batch}"] = told
    settings = {k: getattr(options, k) for k in ("layers", "device")} | {"sequence": SEQUENCE, "threads": 1}
    settings |= {
        "weights": Path(options.weights).name if options.weights else "random",
        "seconds": round(time.perf_counter() - start),
    }
    name = "pack_latency" if options.device == "cpu" else "pack_latency_cuda"
    keep(name, {"settings": settings, "faster": figures}, raw)


def _encoder(folder: str | None, layers: int) -> nn.Module:
    from transformers import AutoModel, BertConfig, BertModel

    if folder:
        return AutoModel.from_pretrained(folder).eval()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1000, hidden_size=384, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=1536
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.normal_(std=0.05)
    return model


def _masked(dense: nn.Module, sparsity: float, shape: tuple[float, float] | None) -> nn.Module:
    """A copy in which all matrices of every encoder layer have this share of zeros."""
    model = copy.deepcopy(dense)
    with torch.no_grad():
        for block in model.encoder.layer:
            layers = {name: block.get_submodule(name) for name in LAYERS}
            strengths = _strengths({name: layer.weight for name, layer in layers.items()})
            for name, layer in layers.items():
                count = round((1 - sparsity) * layer.weight.numel())
                layer.weight.mul_(_mask(layer.weight, count, shape, strengths[name]))
    return model


def _strengths(weights: dict[str, Tensor]) -> dict[str, list[Tensor]]:
    """How strong each row and each column is. What is one thing in two matrices has one strength: a neuron, a value
    dimension, a dimension in which queries meet keys."""
    found = {name: [w.norm(dim=1), w.norm(dim=0)] for name, w in weights.items()}
    for (one, d), (other, e) in TIED:
        both = found[one][d] * found[other][e]
        found[one][d] = found[other][e] = both
    return found


def _mask(weight: Tensor, count: int, shape: tuple[float, float] | None, strengths: list[Tensor]) -> Tensor:
    """Which ``count`` weights stay. ``shape``: the area of a core of the strongest rows and columns, as a multiple of
    the survivors in it; and the share of all survivors that it holds."""
    size = weight.abs()
    if shape is None:
        return _largest(size, count)
    area, share = shape
    inside = round(share * count)
    side = (area * inside / weight.numel()) ** 0.5
    rows, columns = (_largest(strong, round(side * strong.numel())) for strong in strengths)
    core = rows[:, None] & columns
    kept = _largest(size.masked_fill(~core, -1.0), min(inside, int(core.sum())))
    return kept | _largest(size.masked_fill(core, -1.0), count - inside) if inside < count else kept


def _largest(values: Tensor, count: int) -> Tensor:
    """Bool of the shape, true at the ``count`` largest; of equals the first."""
    order = torch.sort(values.flatten(), descending=True, stable=True).indices[:count]
    found = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    found[order] = True
    return found.reshape(values.shape)


def _packed(masked: nn.Module, ids: Tensor) -> tuple[nn.Module, dict[str, Any]]:
    packed = nk.pack(masked, {"input_ids": ids}, runs=_runs(ids)[0], threads=1)
    packing = nk.packing_of(packed)
    other = torch.randint(1000, (2, 40), generator=torch.Generator().manual_seed(1)).to(ids.device)
    certificate = nk.certify_packed(masked, packed, {"input_ids": ids[:2]}, more=[{"input_ids": other}])
    assert certificate.holds, certificate
    forms: dict[str, int] = {}
    for layer in packing.layers:
        forms[layer.form] = forms.get(layer.form, 0) + 1
    return packed, {
        "forms": forms,
        "removed": sum(r.count for r in packing.removed),
        "units": sum(r.units for r in packing.removed),
        "worst": max(c.worst for c in certificate.checks),
        "macs": nk.measure.macs(packed, {"input_ids": ids}),
        "dense_macs": nk.measure.macs(masked, {"input_ids": ids}),
        "bytes": nk.measure.file_bytes(packed),
        "layers": [{"name": x.name, "form": x.form, "cost": dict(x.cost)} for x in packing.layers],
    }


def _faster(dense: Any, packed: Any) -> dict[str, float]:
    """How many times faster than the dense model: by the medians, and by the fastest runs."""
    times = {"median": dense.median_ms / packed.median_ms, "fastest": dense.min_ms / packed.min_ms}
    return {name: round(value, 2) for name, value in times.items()}


def _runs(ids: Tensor) -> tuple[int, int]:
    return RUNS.get(len(ids), (7, 21))


def _eager(models: dict[str, nn.Module], ids: Tensor) -> dict[str, Any]:
    return nk.measure.latency(models, {"input_ids": ids}, threads=1, runs=_runs(ids)[1])


def _onnx(models: dict[str, nn.Module], ids: Tensor, told: dict[str, Any]) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp())
    calls = {}
    for k, (name, model) in enumerate(models.items()):
        run = nk.export.onnx_session(nk.export.onnx(model, {"input_ids": ids}, folder / f"{k}.onnx"))
        with torch.no_grad():
            wanted = model(input_ids=ids).last_hidden_state
        worst = float((run(ids)[0] - wanted).abs().max() / wanted.abs().max())
        assert worst < 1e-4, (name, worst)
        if name in told:
            told[name]["onnx_worst"] = worst
        calls[name] = lambda run=run: run(ids)
    return nk.measure.interleaved(calls, runs=_runs(ids)[1])


if __name__ == "__main__":
    main()
