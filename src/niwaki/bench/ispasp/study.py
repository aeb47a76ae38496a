"""The MNIST study (Figure 3): one wide network a seed, pruned by every rival to every width, and tuned.

Every job leaves a file, and the dense network is kept while it is trained: a study that was killed goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from niwaki.bench import results
from niwaki.bench.ispasp.perceptron import Perceptron, accuracy, train
from niwaki.bench.ispasp.rivals import RIVALS, Choice, Samples
from niwaki.bench.ispasp.settings import PAPER, Settings, differences
from niwaki.errors import BrokenFile, unknown_key
from niwaki.recipes.progress import Teller
from niwaki.recovery import compensate
from niwaki.replacing import made, replacing
from niwaki.vision.mnist import Digits

VERSION = 1
WHEN = {
    "before": "as cut",
    "compensated": "with least squares",
    "after": "tuned",
    "after_compensated": "with least squares, tuned",
}
"""The accuracies of a job, and how they are called."""
SEEDS = {name: 1_000 * (number + 1) for number, name in enumerate(("ispasp", "top_k", "gfs", "random", "fit", "tune"))}
SEEDS |= {"ispasp scaled": SEEDS["ispasp"], "gfs plain": SEEDS["gfs"]}
"""Where the random numbers of each part begin, so that one part does not shift those of another; rivals that differ in
weights alone choose the same units."""


@dataclass(frozen=True)
class Study:
    """What is asked for. ``seeds``: how many wide networks. ``rivals``: names of RIVALS."""

    digits: Digits
    settings: Settings
    out: Path
    seeds: int = 3
    rivals: tuple[str, ...] = tuple(RIVALS)

    def __post_init__(self) -> None:
        for name in self.rivals:
            if name not in RIVALS:
                raise unknown_key("the study", name, RIVALS)

    def run(self, teller: Teller | None = None) -> list[dict[str, Any]]:
        """Do what is left to do, and give all results."""
        teller = teller or Teller()
        changed = ", ".join(f"{name} {a} → {b}" for name, (a, b) in differences(self.settings, PAPER).items())
        teller.say(f"settings: {f'not as in the paper: {changed}' if changed else 'as in the paper'}")
        found = []
        for seed in range(self.seeds):
            one = Seed(self, seed, teller)
            for name in self.rivals:
                found += [one.job(name, keep) for keep in self.settings.kept]
        return found


class Seed:
    """The part of a study that starts from one wide network."""

    def __init__(self, study: Study, seed: int, teller: Teller) -> None:
        self.study, self.seed, self.teller = study, seed, teller
        self.settings, self.digits, self.out = study.settings, study.digits, study.out

    def job(self, rival: str, keep: int) -> dict[str, Any]:
        """Results of one rival at one width; from their file, if they are there.

        Raises:
            BrokenFile: the file is of other settings or of other images.
        """
        path = self.out / "results" / f"{_stem(rival)}.{keep}.{self.seed}.json"
        done = results.read(path, self._told, "has other {key}: {found}, not {ours}")
        if done is not None:
            return done
        choice = self._choices(rival)[keep]
        cut = choice.network(self.dense)
        fitted = self._compensated(cut)
        name = f"{rival} {keep} seed {self.seed}"
        found = {**self._told, "rival": rival, "keep": keep, "seed": self.seed, "units": len(choice.units)}
        found |= {"dense": self.dense_accuracy, "select_s": round(self._seconds(rival), 2)}
        found |= {"before": accuracy(cut, self.digits), "compensated": accuracy(fitted, self.digits)}
        found |= {
            "after": self._tuned(cut, f"{name}: tune"),
            "after_compensated": self._tuned(fitted, f"{name}: tune on"),
        }
        results.write(path, found)
        self.teller.say(f"{name}: " + ", ".join(f"{label} {found[key]:.2%}" for key, label in WHEN.items()))
        return found

    def _tuned(self, small: Perceptron, title: str) -> float:
        """The accuracy after tuning, which changes the network."""
        with self.teller.stage(title, self.settings.tune.epochs) as tick:
            train(small, self.digits, self.settings.tune, SEEDS["tune"] + self.seed, tick=tick)
        return accuracy(small, self.digits)

    # -- the wide network -----------------------------------------------------------------------------------------

    @cached_property
    def dense(self) -> Perceptron:
        """Trained, or read from where it was kept."""
        s, pixels = self.settings, self.digits.train.shape[1]
        model = Perceptron.fresh(pixels, s.width, self.seed).to(self.digits.train.device)
        kept = self.out / "dense" / f"{self.seed}.safetensors"
        with self.teller.stage(f"dense seed {self.seed}", s.dense.epochs) as tick:
            train(model, self.digits, s.dense, self.seed, kept, tick)
        return model.requires_grad_(False)

    @cached_property
    def dense_accuracy(self) -> float:
        """On the test images."""
        return accuracy(self.dense, self.digits)

    # -- pruning --------------------------------------------------------------------------------------------------

    def _choices(self, rival: str) -> Mapping[int, Choice]:
        """For every width; made once, and kept.

        Raises:
            BrokenFile: what was kept is of other settings or of other images.
        """
        path, mark = self._chosen(rival), json.dumps(self._told, sort_keys=True)
        if not path.is_file():
            samples = Samples(self.digits, self.settings.sample, SEEDS[rival] + self.seed)
            start = time.perf_counter()
            with self.teller.wait(f"{rival} seed {self.seed}: choose"):
                found = RIVALS[rival](self.dense, samples, self.settings, SEEDS[rival] + self.seed)
            spent = torch.tensor(time.perf_counter() - start)
            tensors = {f"units.{keep}": choice.units for keep, choice in found.items()}
            tensors |= {f"factors.{keep}": choice.factors for keep, choice in found.items()}
            made(path.parent)
            with replacing(path) as part:
                save_file({**tensors, "seconds": spent}, str(part), metadata={"mark": mark})
        with safe_open(str(path), framework="pt") as file:
            if (file.metadata() or {}).get("mark") != mark:
                raise BrokenFile(f"{path} is of other settings or images; remove it, or name another folder")
        tensors = load_file(path)
        return {k: Choice(tensors[f"units.{k}"], tensors[f"factors.{k}"]) for k in self.settings.kept}

    def _seconds(self, rival: str) -> float:
        return float(load_file(self._chosen(rival))["seconds"])

    def _chosen(self, rival: str) -> Path:
        return self.out / "chosen" / f"{_stem(rival)}.{self.seed}.safetensors"

    def _compensated(self, small: Perceptron) -> Perceptron:
        """With the second layer fitted to the outputs of the wide network."""
        images, outputs = self._fit
        hidden = small.hidden(images).detach().T
        missing = outputs.T - small.second.detach() @ hidden
        second = compensate(small.second.detach(), hidden, missing, self.settings.ridge)
        return Perceptron(small.first.detach(), second)

    @cached_property
    def _fit(self) -> tuple[Tensor, Tensor]:
        """Images for least squares, and what the wide network says of them."""
        images, _ = Samples(self.digits, self.settings.fit, SEEDS["fit"] + self.seed)()
        return images, torch.cat([self.dense(some) for some in images.split(1000)])

    # -- what results are of --------------------------------------------------------------------------------------

    @property
    def _told(self) -> dict[str, Any]:
        images = [len(self.digits.train), len(self.digits.test)]
        # As JSON gives it back: tuples are lists there.
        return {"version": VERSION, "settings": json.loads(json.dumps(asdict(self.settings))), "images": images}


def _stem(rival: str) -> str:
    return rival.replace(" ", "-")


def read(folder: Path) -> list[dict[str, Any]]:
    """All results of a folder, by name."""
    return results.read_all(folder / "results")


__all__ = ["WHEN", "Seed", "Study", "read"]
