"""Reading figures back: what they say, where their lines go, where their words stand."""

from __future__ import annotations

import re
from xml.etree import ElementTree


def texts(svg: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(svg).iterfind(".//{*}text")]


def curves(svg: str, colour: str) -> list[list[tuple[float, float]]]:
    """Corners of all lines of one colour, but not of the level ones, which are in the key."""
    paths = re.findall(rf'd="([^"]+)" [^>]*style="fill: none; stroke: var\(--{colour},', svg)
    found = [[(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)] for path in paths]
    return [line for line in found if len({y for _, y in line}) > 1]


def boxes(svg: str) -> list[tuple[float, float, float, float, str]]:
    """Left, top, right, bottom of each text, near enough; turned ones are left out."""
    found = []
    for text in ElementTree.fromstring(svg).iterfind(".//{*}text"):
        if "rotate(-90" in text.attrib.get("transform", ""):
            continue
        place = re.search(r"translate\((\S+) (\S+)\)", text.attrib.get("transform", ""))
        x, y = (float(v) for v in (place.groups() if place else (text.attrib["x"], text.attrib["y"])))
        anchor = re.search(r"text-anchor: (\w+)", text.attrib["style"])
        wide = 4.6 * len(text.text or "")
        left = x - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor[1] if anchor else "start"]
        found.append((left, y - 7.0, left + wide, y, text.text or ""))
    return found


def words_lie_apart(svg: str, wide: float) -> None:
    """No text lies on another or outside of the figure."""
    found = boxes(svg)
    assert len(found) > 8
    for i, (left, top, right, bottom, said) in enumerate(found):
        assert left > -4, said
        assert right < wide + 4, said
        for a, b, c, d, other in found[:i]:
            assert right < a or c < left or bottom < b or d < top, (said, other)
