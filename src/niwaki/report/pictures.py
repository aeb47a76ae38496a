"""Figures with the captions that say how to read them; those of patterns, which more than one page shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import heat, phrase, rounds
from .patterns import Run

__all__ = ["Picture", "drawn", "over_rounds", "patterns_of"]


@dataclass(frozen=True)
class Picture:
    """A figure that is not empty, and the caption that says how to read it."""

    svg: str
    caption: str


def drawn(*pictures: tuple[str, str]) -> list[Picture]:
    """Of these (figure, caption) the figures that are not empty."""
    return [Picture(svg, caption) for svg, caption in pictures if svg]


def patterns_of(run: Run) -> list[Picture]:
    """The matrices of one run at its end, and a few of them over the rounds."""
    return drawn(
        (heat.last_round(run.patterns), f"{run.label}. {phrase.concentrated(run.patterns)}"),
        (heat.frames(run.patterns), f"{run.label}. A few matrices after the rounds, below each the sparsity of all."),
    )


def over_rounds(runs: Sequence[Run]) -> list[Picture]:
    """How unequal rows and columns became, of one run or of several, and how many were empty."""
    dashed = "dashed: a random mask that is as sparse"
    return drawn(
        (
            rounds.ginis(runs),
            "Gini coefficient of the surviving weights per row (above) and per column: 0 if all have equally many, "
            f"near 1 if one has all; {dashed}.",
        ),
        (
            rounds.spreads(runs),
            f"Standard deviation over mean of the surviving weights per row (above) and per column; {dashed}.",
        ),
        (rounds.empties(runs), "Rows (above) and columns without any surviving weight."),
    )
