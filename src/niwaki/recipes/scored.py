"""How good a network is at the end of each round of a method that takes single weights round by round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from niwaki.methods import Method
from niwaki.methods.parts import Choose
from niwaki.recipes import chance
from niwaki.recipes.ingredients import Ingredients
from niwaki.recipes.passes import Meter
from niwaki.recipes.record import Row
from niwaki.recipes.standing import Standing
from niwaki.wrappers import bare

ZEROS = "zeros"  # in a row of an accuracy: the share of zeros among the weights that the method takes from


def scoring(
    stuff: Ingredients, model: nn.Module, method: Method, standing: Standing, meter: Meter
) -> Callable[[Row], None]:
    """What takes the rows of a method that prunes ``model``: the record; with the scores of its rounds, if it has any
    and the recipe says how to measure one."""
    if stuff.evaluate is None or not has_rounds(method):
        return standing.record
    return _Scoring(stuff, model, standing, meter)


def has_rounds(method: Method) -> bool:
    """Does it choose single weights several times while the network trains?"""
    choices = [part for part in method.body.walk() if isinstance(part, Choose) and part.of == "weights"]
    return method.takes_time and len(choices) > 1


@dataclass(frozen=True, eq=False)
class _Scoring:
    """Writes the rows of a method, and before each choice the score of the weights as the round has left them: they are
    masked after the row of the choice."""

    stuff: Ingredients
    model: nn.Module
    standing: Standing
    meter: Meter

    def __call__(self, row: Row) -> None:
        if row["event"] == "choose":
            with self.standing.clock.pause():  # pruning takes as long as it takes without
                self.standing.record(self._score(row))
        self.standing.record(row)

    def _score(self, choice: Row) -> Row:
        before = chance.states()
        accuracy = self.stuff.accuracy(self.model)
        chance.restore(before)  # so that training goes on as if nobody had looked
        share = _share(self.model, choice["weights"])
        at = {"phase": self.meter.phase, "images": self.meter.images, "step": choice["step"]}
        return {"event": "accuracy", **at, "accuracy": accuracy, ZEROS: share}


def share_at_end(model: nn.Module, rows: Sequence[Row]) -> Mapping[str, Any]:
    """The share of zeros, for the row of the accuracy at the end of pruning; nothing later, nor where no rounds have
    scores."""
    tuned = any(row.get("event") == "epoch" and row["phase"] != "prune" for row in rows)
    if tuned or not any(ZEROS in row for row in rows):
        return {}
    choices = [row for row in rows if row.get("event") == "choose"]
    return {ZEROS: _share(model, choices[-1]["weights"])}


def _share(model: nn.Module, names: Iterable[str]) -> float:
    """Of zeros, among all entries of these tensors."""
    weights = dict(bare(model).named_parameters())
    taken = [weights[name].detach() for name in names]
    return sum(int((weight == 0).sum()) for weight in taken) / max(1, sum(weight.numel() for weight in taken))


__all__ = ["ZEROS", "has_rounds", "scoring", "share_at_end"]
