"""What a report says of patterns: where the surviving weights of every matrix were, round by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from niwaki.pattern import Pattern, Summary, summary

from .checks import freeze, not_negative, share
from .codec import Record, ReportError

__all__ = ["PatternRound", "Patterns", "Run"]


@dataclass(frozen=True)
class PatternRound(Record):
    """The patterns of all masked matrices at one moment of a run.

    `step` is the optimizer step; `sparsity` the share of weights that the method had taken, as it says itself;
    `matrices` maps the names of tensors to their patterns, in the network's order. Heat maps may be left out.
    """

    step: int
    sparsity: float
    matrices: dict[str, Pattern]

    def __post_init__(self) -> None:
        not_negative(self, "step")
        share(self, "sparsity")
        if not self.matrices:
            raise ReportError(f"matrices at step {self.step}: a round needs the pattern of one matrix at least")

    @property
    def together(self) -> Summary:
        """The figures of all its matrices together."""
        return summary(self.matrices)


@dataclass(frozen=True)
class Patterns(Record):
    """How the patterns of one entry came about: one or more rounds, in the order of their steps."""

    entry: str
    rounds: Sequence[PatternRound]

    def __post_init__(self) -> None:
        freeze(self, "rounds")
        where = f"patterns of entry {self.entry!r}"
        if not self.rounds:
            raise ReportError(f"{where}: there must be one round at least")
        for one, other in pairwise(self.rounds):
            if other.step < one.step:
                raise ReportError(f"{where}: the round of step {other.step} stands behind that of step {one.step}")

    @property
    def names(self) -> list[str]:
        """All matrices, in the order in which they first appear."""
        return list(dict.fromkeys(name for one in self.rounds for name in one.matrices))

    @property
    def last(self) -> PatternRound:
        """The end of the run."""
        return self.rounds[-1]

    @property
    def mapped(self) -> list[str]:
        """The matrices whose heat map of the last round is there."""
        return [name for name, pattern in self.last.matrices.items() if pattern.blocks]

    def frames(self, name: str) -> list[tuple[float, Pattern]]:
        """The rounds in which a matrix has a heat map: the sparsity of all matrices together, and its pattern."""
        found = [(one.together.sparsity, one.matrices[name]) for one in self.rounds if name in one.matrices]
        return [(sparsity, pattern) for sparsity, pattern in found if pattern.blocks]


@dataclass(frozen=True)
class Run:
    """Patterns as a figure shows them: under a name and in a colour of :data:`canvas.COLOURS`."""

    label: str
    colour: str
    patterns: Patterns
