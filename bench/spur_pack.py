"""Latency of the models that `niwaki bench spur` has left: packed against dense.

python bench/spur_pack.py FOLDER --task sst2 --encoder ENCODER [--shares 0.9 0.95] [--batches 1 16]

FOLDER is the one that the comparison wrote to, ENCODER the folder that it began with. Of every contestant and factor,
the models of the first seed that is there, with these shares of zeros, are packed for each batch size, certified, and
timed beside the others in turns on one thread in PyTorch, with sequences of 64. Expected: the more the survivors gather
in rows and columns, the faster.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from ledger import keep
from safetensors.torch import load_model
from torch import nn

import niwaki as nk
from niwaki.bench import results
from niwaki.text.encoders import classifier
from niwaki.text.tasks import task

SEQUENCE = 64
RUNS = {1: (9, 41), 16: (3, 9)}
"""By batch size: how often each form of a layer is timed, and each model."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--task", required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.9, 0.95])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    masked = _models(asked.folder, asked.task, asked.encoder, asked.shares)
    dense = classifier(asked.encoder, task(asked.task).classes or 1).eval()
    figures: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    for batch in asked.batches:
        ids = torch.randint(1000, (batch, SEQUENCE), generator=torch.Generator().manual_seed(0))
        packed = {label: _packed(model, ids, RUNS.get(batch, (3, 9))[0]) for label, model in masked.items()}
        models: dict[str, nn.Module] = {"dense": dense, **{label: model for label, (model, _) in packed.items()}}
        times = nk.measure.latency(models, {"input_ids": ids}, threads=1, runs=RUNS.get(batch, (3, 9))[1])
        for label, (_, told) in packed.items():
            faster = {
                "median": round(times["dense"].median_ms / times[label].median_ms, 2),
                "fastest": round(times["dense"].min_ms / times[label].min_ms, 2),
            }
            figures.setdefault(label, {})[f"batch {batch}"] = faster
            raw[f"{label}, batch {batch}"] = {**told, "ms": times[label].median_ms}
            print(label, batch, faster, told["forms"], flush=True)
        raw[f"dense, batch {batch}"] = {"ms": times["dense"].median_ms}
    keep("spur_pack", figures, raw)


def _models(folder: Path, name: str, encoder: Path, shares: list[float]) -> dict[str, nn.Module]:
    """Of every contestant and factor, the models with these shares of zeros, of the first seed that has them."""
    found: dict[str, nn.Module] = {}
    for path, row in zip(sorted((folder / "jobs").glob("*.json")), results.read_all(folder / "jobs"), strict=True):
        if row["task"] != name or row["encoder"] != encoder.name:
            continue
        for share in shares:
            weights = folder / "models" / f"{path.stem}.{share:.3g}.safetensors"
            factor = "" if row["alpha"] is None else f" {row['alpha']:g}"
            label = f"{row['contestant']}{factor}, {share:.0%}"
            if weights.is_file() and label not in found:
                model = classifier(encoder, task(name).classes or 1)
                load_model(model, str(weights))
                found[label] = model.eval()
    return found


def _packed(model: nn.Module, ids: torch.Tensor, runs: int) -> tuple[nn.Module, dict[str, Any]]:
    packed = nk.pack(model, {"input_ids": ids}, runs=runs, threads=1)
    certificate = nk.certify_packed(model, packed, {"input_ids": ids})
    assert certificate.holds, certificate
    packing = nk.packing_of(packed)
    forms: dict[str, int] = {}
    for layer in packing.layers:
        forms[layer.form] = forms.get(layer.form, 0) + 1
    return packed, {"forms": forms, "removed": sum(r.count for r in packing.removed)}


if __name__ == "__main__":
    main()
