"""Real ImageNet weights, pruned without any training.

    python bench/ispasp_sample.py mobilenet_v2 WEIGHTS PICTURES LABELS --out FOLDER
    python bench/ispasp_sample.py resnet50 WEIGHTS PICTURES LABELS --out FOLDER

WEIGHTS is a checkpoint of MobileNetV2 with the names of `niwaki.vision.mobilenet_v2`, or a folder with the ResNet-50
of Keras for TensorFlow.js (see keras_resnet50.py). PICTURES is a folder of pictures with a short side of 256, LABELS a
table (tab, with a heading) of their file names and class numbers. One half of them is looked at, on the other half the
share of right answers is counted; --runs N: with other random halves, again. These are pictures that the networks were
trained on: the figures say what pruning loses, and are no accuracy on ImageNet.

The channels inside the inverted residuals or bottlenecks go, the same share of each. Batch norms keep their statistics,
or are measured again on the half that is looked at; the layers behind are kept, or fitted to their old output by least
squares. FOLDER keeps a file for every cell: a run that was broken off goes on by the same command.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from keras_resnet50 import MEAN as KERAS_MEAN
from keras_resnet50 import STD as KERAS_STD
from keras_resnet50 import keras_resnet50
from ledger import keep
from torch import Tensor, nn

import niwaki as nk
from niwaki.bench import results
from niwaki.methods import Method
from niwaki.vision.checkpoint import weights
from niwaki.vision.crops import central_view
from niwaki.vision.imagenet import MEAN, STD
from niwaki.vision.images import Colour, Normaliser, share_right
from niwaki.vision.mobilenet_v2 import mobilenet_v2
from niwaki.vision.pictures import opened

VERSION = 1
REMOVED = (0.1, 0.2, 0.4)
FITTED = {"compensate": True, "reestimate": True}
RIVALS: Mapping[str, Callable[[nk.Ratio, int], Method]] = {
    "one-shot L1": lambda target, n: nk.methods.magnitude(target),
    "Top-K": lambda target, n: nk.methods.topk(target, samples=n),
    "greedy": lambda target, n: nk.methods.gfs(target, samples=n),
    "i-SpaSP": lambda target, n: nk.methods.ispasp(target, samples=n),
    "i-SpaSP, norms measured again": lambda target, n: nk.methods.ispasp(target, samples=n, reestimate=True),
    "Top-K, fitted, norms measured again": lambda target, n: nk.methods.topk(target, samples=n, **FITTED),
    "greedy, fitted, norms measured again": lambda target, n: nk.methods.gfs(target, samples=n, **FITTED),
    "i-SpaSP, fitted": lambda target, n: nk.methods.ispasp(target, samples=n, compensate=True),
    "i-SpaSP, fitted, norms measured again": lambda target, n: nk.methods.ispasp(target, samples=n, **FITTED),
}
"""Who prunes, of a target and a number of samples."""


@dataclass(frozen=True)
class Network:
    """A network with real weights: how it is read, what it takes, and what of it goes."""

    read: Callable[[Path], nn.Module]
    mean: Colour
    std: Colour
    inside: tuple[str, ...]


def _mobilenet(path: Path) -> nn.Module:
    model = mobilenet_v2().eval()
    model.load_state_dict(weights(path))
    return model


BOTTLENECKS = [f"layer{stage + 1}.{block}" for stage, many in enumerate((3, 4, 6, 3)) for block in range(many)]
NETWORKS = {
    "mobilenet_v2": Network(_mobilenet, MEAN, STD, tuple(f"features.{block}.conv.0.0" for block in range(2, 18))),
    "resnet50": Network(
        keras_resnet50, KERAS_MEAN, KERAS_STD, tuple(f"{block}.conv{k}" for block in BOTTLENECKS for k in (1, 2))
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("weights", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--removed", type=float, nargs="+", default=list(REMOVED))
    parser.add_argument("--rivals", nargs="+", default=list(RIVALS), choices=RIVALS, metavar="NAME")
    asked = parser.parse_args()
    network = NETWORKS[asked.network]
    dense, (pixels, labels) = network.read(asked.weights), read(asked.pictures, asked.labels, network)
    shown = {"weights": fingerprint(asked.weights), "pictures": len(labels)}
    for run in range(asked.runs):
        for told, make in cells(dense, network, halves(pixels, labels, run), asked.removed, asked.rivals):
            once(asked.out / asked.network, {"network": asked.network, **shown, "run": run, **told}, make)
    rows = results.read_all(asked.out / asked.network)
    keep(f"ispasp_sample_{asked.network}", figures(rows), rows)


def figures(rows: list[dict]) -> dict[str, Any]:
    """Means over the runs, by rival and share removed."""
    found = {}
    for name, removed in dict.fromkeys((row["rival"], row["removed"]) for row in rows):
        mine = [row for row in rows if (row["rival"], row["removed"]) == (name, removed)]
        right = [100 * row["right"] for row in mine]
        found[f"{name}, {removed:.0%} removed" if removed else name] = {
            "right_percent": round(statistics.fmean(right), 2),
            "std": round(statistics.stdev(right), 2) if len(right) > 1 else None,
            "runs": len(mine),
            "macs": mine[0]["macs"],
            "core_s": round(statistics.median(row["core_s"] for row in mine), 1),
        }
    return found


Halves = tuple[list[Tensor], list[tuple[Tensor, Tensor]]]


def halves(pixels: Tensor, labels: Tensor, run: int) -> Halves:
    """Pictures to look at, and pictures with labels to be judged by."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(run))
    seen, unseen = order.chunk(2)
    return list(pixels[seen].split(50)), [(pixels[part], labels[part]) for part in unseen.split(100)]


def cells(
    dense: nn.Module, network: Network, shown: Halves, shares: list[float], names: list[str]
) -> Iterator[tuple[dict, Callable[[], dict]]]:
    """What is told of each cell, and what makes its figures."""
    samples, judged = shown
    example = samples[0][:1]

    def pruned(name: str, removed: float) -> dict:
        target = nk.Ratio(dict.fromkeys(network.inside, removed))
        method = RIVALS[name](target, sum(map(len, samples)))
        start = time.process_time()
        small = nk.prune(dense, example, method, data=samples if method.needs else None)
        spent = time.process_time() - start
        return {"right": share_right(small, judged), "macs": nk.measure.macs(small, example), "core_s": spent}

    def untouched() -> dict:
        return {"right": share_right(dense, judged), "macs": nk.measure.macs(dense, example), "core_s": 0.0}

    yield {"rival": "dense", "removed": 0.0}, untouched
    for removed in shares:
        for name in names:
            yield {"rival": name, "removed": removed}, lambda name=name, removed=removed: pruned(name, removed)


def once(folder: Path, told: dict, make: Callable[[], dict]) -> None:
    """Make a cell, unless its file is there."""
    told = {"version": VERSION, **told}
    path = folder / f"{told['run']}.{told['removed']:g}.{told['rival'].replace(' ', '-').replace(',', '')}.json"
    if results.read(path, told) is None:
        found = {**told, **make()}
        results.write(path, found)
        print(f"{told['rival']}, {told['removed']:.0%}: {found['right']:.1%}, {found['core_s']:.0f} s", flush=True)


def fingerprint(path: Path) -> str:
    """Of a file of weights, or of all files of a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return hashlib.sha256("".join(map(results.digest, files)).encode()).hexdigest()[:12]


def read(pictures: Path, labels: Path, network: Network) -> tuple[Tensor, Tensor]:
    """All pictures normalised (N x 3 x 224 x 224), and their class numbers."""
    with labels.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file, delimiter="\t"))
    views = []
    for each in found:
        with opened(pictures / each["file"]) as picture:
            view = central_view(picture.convert("RGB"), 224, 256)
            views.append(torch.frombuffer(bytearray(view.tobytes()), dtype=torch.uint8).view(224, 224, 3))
    pixels = torch.stack(views).permute(0, 3, 1, 2).contiguous()
    return Normaliser(network.mean, network.std)(pixels), torch.tensor([int(each["label"]) for each in found])


if __name__ == "__main__":
    main()
