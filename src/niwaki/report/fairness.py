"""What must be equal before two networks may stand in one table, and where they differ.

The rules are those of Wang et al. 2023 (arXiv 2301.05219): most of what is published as the gain of a method lies in
another dense network, or in another way to train it on. Their levels of comparison say how much was equal:

- S1: other dense networks; S2: the same one;
- S3.1: trained on for as many epochs, too; S3.2: with the same rates, batches and optimizer, too;
- S4.2: and methods that train while they prune saw as many images before the cut, at the same rates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["RULES", "Mixture", "Start", "level", "mixtures", "varying"]

RULES: dict[str, tuple[str, ...]] = {
    "base": ("model", "model_args", "weights"),
    "data": ("data", "data_args"),
    "retraining": ("loss", "optimizer", "finetune"),
    "evaluation": ("evaluate", "evaluate_args"),
    "measuring": ("inputs",),
}
"""What each rule wants to be equal: keys of the recipe. Of ``base`` the weights themselves decide where they are known,
whatever the files are called that they came from. What else differs in networks of the same weights, such as their
dropout, is a matter of ``retraining``: it shows when they are trained on."""
_NETWORK = ("model", "model_args")
_ABSENT = object()


@dataclass(frozen=True)
class Start:
    """How a network was made: the recipe as plain data, and the fingerprint of the dense weights, if it is known."""

    settings: Mapping[str, Any]
    weights: str | None = None


@dataclass(frozen=True)
class Mixture:
    """Two networks, by name, that differ in what a rule wants to be equal: the key, and what each of them has."""

    rule: str
    names: tuple[str, str]
    key: str
    values: tuple[str, str]

    def __str__(self) -> str:
        return f"{self.names[0]} and {self.names[1]} differ in {self.key} ({self.values[0]} and {self.values[1]})"


def mixtures(starts: Mapping[str, Start], rules: Sequence[str] = tuple(RULES)) -> list[Mixture]:
    """For each rule that is broken the first network and the first that differs from it.

    Recipes that are not known (empty) are not judged by them.
    """
    return [found for rule in rules if (found := _broken(rule, starts)) is not None]


def varying(rule: str, starts: Mapping[str, Start]) -> dict[str, str]:
    """For each network, by name, what it has of that in which they differ: "finetune.epochs 2". Keys that not all of
    them have are left out where the others tell the networks apart."""
    leaves = {name: _leaves(rule, start) for name, start in starts.items()}
    keys = list(dict.fromkeys(key for found in leaves.values() for key in found))
    differ = [key for key in keys if len({found.get(key, "—") for found in leaves.values()}) > 1]
    shared = [key for key in differ if all(key in found for found in leaves.values())]
    whole, short = _told(leaves, differ), _told(leaves, shared)
    return short if len(set(short.values())) == len(set(whole.values())) else whole


def _told(leaves: Mapping[str, Mapping[str, str]], keys: Sequence[str]) -> dict[str, str]:
    return {name: ", ".join(f"{key} {found.get(key, '—')}" for key in keys) for name, found in leaves.items()}


def level(starts: Mapping[str, Start], images: Sequence[int]) -> str:
    """The level of comparison. ``images``: how many training images each network saw before its cut."""
    broken = {found.rule for found in mixtures(starts)}
    if "base" in broken:
        return "S1"
    if broken & {"retraining", "data"}:
        epochs = {str((start.settings.get("finetune") or {}).get("epochs", 0)) for start in starts.values()}
        return "S2" if len(epochs) > 1 else "S3.1"
    return "S4.2" if len(set(images)) == 1 else "S3.2"


def _broken(rule: str, starts: Mapping[str, Start]) -> Mixture | None:
    names = [name for name, start in starts.items() if start.settings or (rule == "base" and start.weights)]
    if rule == "base" and len({starts[name].weights is None for name in names}) > 1:
        return None  # of some the weights are known and of others not: there is nothing to compare
    for name in names[1:]:
        one, other = _leaves(rule, starts[names[0]]), _leaves(rule, starts[name])
        apart = rule == "retraining" and starts[names[0]].weights != starts[name].weights
        for key in {**one, **other}:
            if apart and key.split(".")[0] in _NETWORK:
                continue  # that these are other networks is for ``base`` to tell
            if one.get(key, _ABSENT) != other.get(key, _ABSENT):
                return Mixture(rule, (names[0], name), key, (one.get(key, "—"), other.get(key, "—")))
    return None


def _leaves(rule: str, start: Start) -> dict[str, str]:
    """Dotted keys and their values as text."""
    if rule == "base" and start.weights is not None:
        return {"weights": start.weights[:12]}
    settings = dict(start.settings)
    if rule == "retraining":
        settings = _resolved(settings)
    names = RULES[rule] + (_NETWORK if rule == "retraining" and start.weights is not None else ())
    return {key: text for name in names for key, text in _flat(name, settings.get(name, _ABSENT))}


def _resolved(settings: dict[str, Any]) -> dict[str, Any]:
    """With the optimizer of fine-tuning where it is that of the recipe; none at all is no epochs of it."""
    tuning = settings.get("finetune") or {}
    if not tuning.get("epochs"):
        return {**settings, "finetune": {"epochs": 0}}
    own = {"optimizer": settings.get("optimizer"), "schedule": "cosine"}
    return {**settings, "finetune": {**own, **tuning}}


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(f"{name}.{key}", item)
    elif value is not _ABSENT and value != {}:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
