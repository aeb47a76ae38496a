"""Real ImageNet weights, pruned without any training.   python bench/ispasp_sample.py WEIGHTS PICTURES LABELS

WEIGHTS is a checkpoint of MobileNetV2 with the names of `niwaki.vision.mobilenet_v2`. PICTURES is a folder of pictures
with a short side of 256, LABELS a table (tab, with a heading) of their file names and class numbers. One half of them
is looked at, on the other half the share of right answers is counted; --runs N: with other random halves, again. These
are pictures that the network was trained on: the figures say what pruning loses, and are no accuracy on ImageNet.

The channels inside the inverted residuals go, the same share of each. Batch norms keep their statistics, or are
measured again on the half that is looked at; the layers behind are kept, or fitted to their old output by least
squares.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from pathlib import Path

import torch
from ledger import keep
from torch import Tensor, nn

import niwaki as nk
from niwaki.methods import Method
from niwaki.vision.checkpoint import weights
from niwaki.vision.crops import central_view
from niwaki.vision.imagenet import MEAN, STD
from niwaki.vision.images import Normaliser, share_right
from niwaki.vision.mobilenet_v2 import mobilenet_v2
from niwaki.vision.pictures import opened

REMOVED = (0.1, 0.2, 0.4)
INSIDE = {f"features.{block}.conv.0.0" for block in range(2, 18)}


def rivals(target: nk.Ratio, samples: int) -> dict[str, Method]:
    """Who prunes."""
    m = nk.methods
    fitted = {"compensate": True, "reestimate": True}
    return {
        "one-shot L1": m.magnitude(target),
        "Top-K": m.topk(target, samples=samples),
        "greedy": m.gfs(target, samples=samples),
        "i-SpaSP": m.ispasp(target, samples=samples),
        "i-SpaSP, norms measured again": m.ispasp(target, samples=samples, reestimate=True),
        "Top-K, fitted, norms measured again": m.topk(target, samples=samples, **fitted),
        "greedy, fitted, norms measured again": m.gfs(target, samples=samples, **fitted),
        "i-SpaSP, fitted": m.ispasp(target, samples=samples, compensate=True),
        "i-SpaSP, fitted, norms measured again": m.ispasp(target, samples=samples, **fitted),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    dense = mobilenet_v2().eval()
    dense.load_state_dict(weights(options.weights))
    pixels, labels = read(options.pictures, options.labels)
    rows = [row for run in range(options.runs) for row in one(dense, pixels, labels, run)]
    figures = {}
    for removed in (0.0, *REMOVED):
        for name in dict.fromkeys(row["rival"] for row in rows if row["removed"] == removed):
            mine = [row for row in rows if (row["rival"], row["removed"]) == (name, removed)]
            right = [100 * row["right"] for row in mine]
            figures[f"{name}, {removed:.0%} removed" if removed else name] = {
                "right_percent": round(statistics.fmean(right), 2),
                "std": round(statistics.stdev(right), 2) if len(right) > 1 else None,
                "macs": mine[0]["macs"],
                "core_s": round(statistics.median(row["core_s"] for row in mine), 1),
            }
    keep("ispasp_sample", figures, rows)


def one(dense: nn.Module, pixels: Tensor, labels: Tensor, run: int) -> list[dict]:
    """All rivals on one pair of halves."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(run))
    seen, unseen = order.chunk(2)
    samples, example = list(pixels[seen].split(50)), pixels[:1]
    shown = [(pixels[part], labels[part]) for part in unseen.split(100)]
    rows = [row("dense", run, 0.0, dense, shown, example, 0.0)]
    for removed in REMOVED:
        target = nk.Ratio(dict.fromkeys(sorted(INSIDE), removed))
        for name, method in rivals(target, len(seen)).items():
            start = time.process_time()
            small = nk.prune(dense, example, method, data=samples if method.needs else None)
            rows.append(row(name, run, removed, small, shown, example, time.process_time() - start))
            print(rows[-1], flush=True)
    return rows


def row(name: str, run: int, removed: float, model: nn.Module, shown: list, example: Tensor, spent: float) -> dict:
    return {
        "rival": name,
        "run": run,
        "removed": removed,
        "right": share_right(model, shown),
        "macs": nk.measure.macs(model, example),
        "core_s": spent,
    }


def read(pictures: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """All pictures normalised (N x 3 x 224 x 224), and their class numbers."""
    with labels.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file, delimiter="\t"))
    views = []
    for each in found:
        with opened(pictures / each["file"]) as picture:
            view = central_view(picture.convert("RGB"), 224, 256)
            views.append(torch.frombuffer(bytearray(view.tobytes()), dtype=torch.uint8).view(224, 224, 3))
    pixels = torch.stack(views).permute(0, 3, 1, 2).contiguous()
    return Normaliser(MEAN, STD)(pixels), torch.tensor([int(each["label"]) for each in found])


if __name__ == "__main__":
    main()
