"""Heat maps of surviving weights: calm small multiples, drawn as lines of blocks, one path for each shade.

The shade of a block tells its share of survivors beside the share of its whole matrix, so that patterns of different
sparsity can be compared: a mask without a pattern has the middle shade all over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from xml.etree import ElementTree

from niwaki.pattern import Pattern

from . import phrase
from .canvas import FONT, WIDTH, blank, themed
from .patterns import Patterns, Run
from .thin import evenly

__all__ = ["KEY", "frames", "frames_side_by_side", "last_round", "shortened", "side_by_side"]

_BORDERS = (0.4, 0.8, 1.25, 2.5)  # between shades: a block's share of survivors over that of the matrix
KEY = (
    ("card", "none"),
    ("depth1", "less than 0.4 times the average"),
    ("depth2", "less than 0.8"),
    ("depth3", "about the average"),
    ("depth4", "more than 1.25"),
    ("depth5", "more than 2.5"),
)
"""The colours of blocks and what they mean."""
_GAP, _LINE = 9.0, 12.0  # points between maps, and from line to line of text
_CHARACTER = 5.3  # points: what a character of 9.5 points takes in a wide font
_MAPS, _FILMED, _FRAMES = 12, 3, 6


def last_round(patterns: Patterns) -> str:
    """The matrices at the end, at most twelve, two or three in a row, with their Gini coefficients of rows, columns."""
    names = evenly(patterns.mapped, _MAPS)
    short, columns = shortened(names), 3 if len(names) > 2 else 2
    tiles = [_Tile(patterns.last.matrices[name], name, _gini(patterns.last.matrices[name])) for name in names]
    starts = range(0, len(names), columns)
    strips = [_Strip("", tiles[i : i + columns], [short[n] for n in names[i : i + columns]]) for i in starts]
    return _drawn(strips, columns, f"Surviving weights of the matrices of {patterns.entry} after the last round")


def frames(patterns: Patterns) -> str:
    """The rounds of a few matrices, at most three of six each, under the sparsity of all matrices in that round."""
    names = [name for name in patterns.mapped if len(patterns.frames(name)) > 1]
    short = shortened(patterns.mapped)
    strips = [_film(short[name], name, patterns) for name in evenly(names, _FILMED)]
    return _drawn(strips, _FRAMES, f"Surviving weights of a few matrices of {patterns.entry} over the rounds")


def side_by_side(runs: Sequence[Run], names: Sequence[str], titles: Mapping[str, str]) -> str:
    """The same matrices of several runs at their ends: a row with a title for each matrix, a column for each run."""
    ends = [run.patterns.last for run in runs]
    heads = [f"{r.label}, {phrase.sparsity(e.together.sparsity)}" for r, e in zip(runs, ends, strict=True)]
    strips: list[_Strip] = []
    for name in names:
        tiles = [_Tile(end.matrices[name], name, _gini(end.matrices[name])) for end in ends]
        strips.append(_Strip(titles[name], tiles, [] if strips else heads))
    return _drawn(strips, len(runs), f"Surviving weights of {' and '.join(run.label for run in runs)}, side by side")


def frames_side_by_side(runs: Sequence[Run], name: str) -> str:
    """The rounds of one matrix: a row for each run."""
    strips = [_film(run.label, name, run.patterns) for run in runs if len(run.patterns.frames(name)) > 1]
    return _drawn(strips, _FRAMES, f"Surviving weights of {name} over the rounds of each run")


def shortened(names: Sequence[str]) -> dict[str, str]:
    """Names without the parts (between dots) with which all begin, and without the last part if all have the same."""
    parts = [name.split(".") for name in names]
    least = min(map(len, parts), default=0)
    same = [len({p[i] for p in parts}) == 1 for i in range(least - 1)]
    front = [*same, False].index(False) if len(parts) > 1 else 0
    back = -1 if least > front + 1 and len({p[-1] for p in parts}) == 1 else None
    return {name: ".".join(p[front:back]) for name, p in zip(names, parts, strict=True)}


@dataclass(frozen=True)
class _Tile:
    """A map, the name of its matrix, and a line below it."""

    pattern: Pattern
    name: str
    below: str


@dataclass(frozen=True)
class _Strip:
    """Maps beside each other, with a title over all and a head over each; both may be missing."""

    title: str
    tiles: Sequence[_Tile]
    heads: Sequence[str]


def _film(title: str, name: str, patterns: Patterns) -> _Strip:
    found = evenly(patterns.frames(name), _FRAMES)
    return _Strip(title, [_Tile(pattern, name, phrase.sparsity(sparsity)) for sparsity, pattern in found], [])


def _gini(pattern: Pattern) -> str:
    return f"Gini {pattern.gini_rows:.2f} · {pattern.gini_columns:.2f}"


def _shape(pattern: Pattern) -> str:
    return f"{pattern.rows} × {pattern.columns}"


def _drawn(strips: Sequence[_Strip], columns: int, title: str) -> str:
    if not strips:
        return ""
    wide = (WIDTH - _GAP * (columns - 1)) / columns
    drawn, top = ElementTree.Element("g"), 0.0
    for strip in strips:
        top = _draw_strip(drawn, strip, wide, top)
    root = blank(top - _GAP, title)
    root.extend(drawn)
    return ElementTree.tostring(root, encoding="unicode")


def _draw_strip(root: ElementTree.Element, strip: _Strip, wide: float, top: float) -> float:
    """Draw it from ``top`` on; where the next one begins."""
    heads = [_broken(head, int(wide / _CHARACTER)) for head in strip.heads]
    deep = max(map(len, heads), default=0)
    for i, lines in enumerate(heads):
        for j, line in enumerate(lines, start=deep - len(lines)):
            _text(root, i * (wide + _GAP), top + _LINE * j + 9, line, "ink")
    top += _LINE * deep
    if strip.title:
        _text(root, 0, top + 9, phrase.clip(strip.title, int(WIDTH / _CHARACTER)), "ink")
        top += _LINE
    for i, tile in enumerate(strip.tiles):
        _map(root, tile, i * (wide + _GAP), top + 2, wide)
        _text(root, i * (wide + _GAP), top + wide + _LINE + 1, tile.below, "soft")
    return top + wide + _LINE + 4 + _GAP


def _broken(name: str, most: int) -> list[str]:
    """A name on one line or, broken behind a dot or a space, on two."""
    if len(name) <= most:
        return [phrase.clip(name, most)]
    dot = max(name.rfind(sign, 0, most) for sign in ". ") + 1
    return [phrase.clip(line, most) for line in ((name[:dot], name[dot:]) if dot else (name,))]


def _map(root: ElementTree.Element, tile: _Tile, left: float, top: float, wide: float) -> None:
    """A map ``wide`` points square, whatever the shape of its matrix; small ones of fewer blocks."""
    place = ElementTree.SubElement(root, "g")
    ElementTree.SubElement(place, "title").text = phrase.clip(
        f"{tile.name}, {_shape(tile.pattern)}: {phrase.sparsity(tile.pattern.sparsity)} zeros", 200
    )
    frame = {"x": f"{left:g}", "y": f"{top:g}", "width": f"{wide:g}", "height": f"{wide:g}"}
    style = f"fill: {themed('card')}; stroke: {themed('line')}; stroke-width: 0.6"
    ElementTree.SubElement(place, "rect", frame | {"style": style})
    shades = _shaded(tile.pattern, 48 if wide > 75 else 24)
    across, down = wide / len(shades[0]), wide / len(shades)
    move = f"translate({left:.6g} {top + down / 2:.6g}) scale({across:.6g} {down:.6g})"
    blocks = ElementTree.SubElement(place, "g", {"transform": move, "shape-rendering": "crispEdges"})
    for shade in range(1, len(KEY)):
        path = "".join(_runs(shades, shade))
        if path:
            ElementTree.SubElement(blocks, "path", {"d": path, "style": f"fill: none; stroke: {themed(KEY[shade][0])}"})


def _shaded(pattern: Pattern, most: int) -> list[list[int]]:
    """The shade of each block: its place in the key. Where there are more than ``most``, neighbours are one."""
    alive, of = (_coarser(blocks, most) for blocks in (pattern.blocks, pattern.capacity))
    weights, survivors = pattern.weights, pattern.survivors
    return [
        [1 + bisect_right(_BORDERS, a * weights / (n * survivors)) if a else 0 for a, n in zip(*pair, strict=True)]
        for pair in zip(alive, of, strict=True)
    ]


def _coarser(blocks: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    high, wide = (-(-length // most) for length in (len(blocks), len(blocks[0])))
    rows = [[sum(column) for column in zip(*blocks[i : i + high], strict=True)] for i in range(0, len(blocks), high)]
    return [[sum(row[j : j + wide]) for j in range(0, len(row), wide)] for row in rows]


def _runs(shades: Sequence[Sequence[int]], shade: int) -> Iterator[str]:
    """The blocks of one shade as horizontal lines, one block thick: to each row, then along it."""
    for y, row in enumerate(shades):
        x = at = 0
        begun = False
        for found, blocks in groupby(row):
            length = len(list(blocks))
            if found == shade:
                yield (f"m{x - at} 0h{length}" if begun else f"M{x} {y}h{length}")
                at, begun = x + length, True
            x += length


def _text(root: ElementTree.Element, x: float, y: float, text: str, name: str) -> None:
    style = f"font: 9.5px {FONT}; fill: {themed(name)}"
    ElementTree.SubElement(root, "text", {"x": f"{x:g}", "y": f"{y:g}", "style": style}).text = text
