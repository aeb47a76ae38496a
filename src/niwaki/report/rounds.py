"""Figures over the rounds of a run: how unequal rows and columns become, and how many of them are empty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from niwaki.pattern import Pattern, Summary

from . import phrase
from .canvas import DEPTHS, calm, drawing, ink, svg
from .patterns import Patterns, Run
from .sparsity import place_of, sparsity_axis
from .stages import key_above
from .thin import evenly

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["empties", "ginis", "spreads"]

_MOST_LINES = 80
_AXES = ("rows", "columns")
Line = list[tuple[float, float]]


def ginis(runs: Sequence[Run]) -> str:
    """Gini coefficient of survivors per row and per column, and that of a random mask."""
    return _figure(runs, "gini", "Gini, {}", "Gini coefficients of rows and columns", chance=True)


def spreads(runs: Sequence[Run]) -> str:
    """Standard deviation over mean of survivors per row and per column, and that of a random mask."""
    return _figure(runs, "spread", "std / mean, {}", "Spread of the survivors of rows and columns", chance=True)


def empties(runs: Sequence[Run]) -> str:
    """Rows and columns without a survivor, in per cent."""
    return _figure(runs, "empty", "empty {}, %", "Empty rows and columns", chance=False)


def _figure(runs: Sequence[Run], what: str, said: str, title: str, *, chance: bool) -> str:
    """Rows above, columns below, over the sparsity that the rounds reached; one run also shows each matrix."""
    runs = [run for run in runs if len(run.patterns.rounds) > 1]
    means = {axis: [_line(run.patterns, _mean(f"{what}_{axis}")) for run in runs] for axis in _AXES}
    highest = max((y for lines in means.values() for line in lines for _, y in line), default=0.0)
    if highest <= 0:
        return ""
    with drawing():
        figure, panels = calm(305 + 15 * len(_key(runs)), 2, sharex=True, sharey=True)
        for axes, axis in zip(panels, _AXES, strict=True):
            if len(runs) == 1:
                _matrices(axes, runs[0].patterns, f"{what}_{axis}")
            for run, line in zip(runs, means[axis], strict=True):
                _draw(axes, line, "paper", linewidth=4.5, zorder=3)  # so that it stands out from the thin lines
                _draw(axes, line, run.colour, linewidth=1.8, marker="o", markersize=3.5, zorder=4)
                if chance:
                    by_chance = _line(run.patterns, _mean(f"{what}_{axis}_by_chance"))
                    _draw(axes, by_chance, "soft", linewidth=1.0, linestyle=(0, (4, 3)), zorder=5)
            axes.set_ylabel(said.format(axis))
        panels[0].set_ylim(bottom=0)
        rounds = [one.together for run in runs for one in run.patterns.rounds]
        sparsity_axis(panels[1], {_place(found): found.sparsity for found in rounds})
        key_above(panels[0], _key(runs), 1, names=False)
        figure.align_ylabels()
        return svg(figure, f"{title} over the rounds of {' and '.join(run.label for run in runs)}")


def _line(patterns: Patterns, value: Callable[[Summary], float]) -> Line:
    return [(_place(one.together), value(one.together)) for one in patterns.rounds]


def _mean(name: str) -> Callable[[Summary], float]:
    """A figure of all matrices together; shares become per cent."""
    return lambda found: (100 if name.startswith("empty") else 1) * float(getattr(found, name))


def _of_matrix(pattern: Pattern, name: str) -> float:
    length = pattern.rows if name.endswith("rows") else pattern.columns
    return float(getattr(pattern, name)) * (100 / length if name.startswith("empty") else 1)


def _matrices(axes: Axes, patterns: Patterns, name: str) -> None:
    """A thin line for each matrix, in the shade of its depth."""
    names = patterns.names
    for i in evenly(range(len(names)), _MOST_LINES):
        known = [(_place(one.together), one.matrices[names[i]]) for one in patterns.rounds if names[i] in one.matrices]
        line = [(x, _of_matrix(pattern, name)) for x, pattern in known]
        _draw(axes, line, DEPTHS[i * len(DEPTHS) // len(names)], linewidth=0.6, zorder=2)


def _draw(axes: Axes, line: Line, name: str, **style: Any) -> None:
    axes.plot([x for x, _ in line], [y for _, y in line], color=ink(name), clip_on=False, **style)


def _key(runs: Sequence[Run]) -> list[tuple[Sequence[str], str]]:
    if len(runs) > 1:
        return [([run.colour], phrase.clip(run.label, 46)) for run in runs]
    (run,) = runs
    count = len(run.patterns.names)
    shades = list(dict.fromkeys(DEPTHS[i * len(DEPTHS) // count] for i in range(count)))
    return [([run.colour], "all matrices together"), (shades, "each matrix, from the first to the last")]


def _place(found: Summary) -> float:
    return place_of(max(found.survivors, 0.5) / found.weights)
