"""A method: a named tree of parts."""

from __future__ import annotations

from dataclasses import dataclass

from niwaki.methods.parts import Part


@dataclass(frozen=True)
class Method:
    """A pruning method as a value: it prints on one screen, compares equal to its copy, and goes to JSON and back.

    ``departs``: where it departs from the paper whose name it bears.
    """

    name: str
    body: Part
    departs: tuple[str, ...] = ()

    @property
    def takes_time(self) -> bool:
        """Does it need training steps? If not, :func:`niwaki.prune` does it in one call."""
        return self.body.takes_time

    @property
    def rounds(self) -> tuple[int, ...]:
        """Optimizer steps of each stretch of training from one choice to the next, for schedules of the learning rate
        that start anew in each (:func:`niwaki.schedules.per_round`)."""
        return self.body.rounds

    @property
    def needs(self) -> frozenset[str]:
        """What must be at hand beside the model: ``"data"`` to look at, a ``"loss"``."""
        return frozenset().union(*(part.needs for part in self.body.walk()))
