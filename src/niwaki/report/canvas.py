"""The common look of all figures, and the way from a matplotlib figure to an SVG that lives inside a page.

A figure is drawn in the light colours. In the SVG every known colour then becomes `var(--name, #hex)`: inside
the page it follows the light or dark theme, on its own it keeps the hex. Text stays text, in the page's font.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from niwaki.errors import require_extra

from .phrase import clip, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "DEPTHS",
    "FONT",
    "METHODS",
    "WIDTH",
    "bar",
    "blank",
    "calm",
    "colour",
    "drawing",
    "ink",
    "sheet",
    "short_ticks",
    "svg",
    "themed",
]

WIDTH = 330.0  # points: the text column of a small phone, so that 9.5 pt stays 9.5 px there
METHODS = ("pine", "clay", "moss", "slate", "ochre", "plum")
DEPTHS = ("depth1", "depth2", "depth3", "depth4", "depth5")  # from the first layer to the last
# name: (light, dark). Each light value is used once, because it is what becomes the CSS variable.
COLOURS = {
    "paper": ("#fbfaf4", "#141a17"),
    "card": ("#ffffff", "#1b231f"),
    "ink": ("#23302a", "#e4e9df"),
    "soft": ("#5d6a61", "#a3b0a5"),
    "line": ("#d8d8ca", "#34413a"),
    "pale": ("#e1e6d6", "#2d3a33"),
    "pine": ("#2f5d46", "#7dba96"),
    "clay": ("#b8613b", "#e39a73"),
    "moss": ("#8c9c3c", "#bcc96f"),
    "slate": ("#4a6d8c", "#8fb5d6"),
    "ochre": ("#c79a30", "#e2c069"),
    "plum": ("#7b4b6c", "#c697b7"),
    "bad": ("#a3302a", "#f28b7d"),
    "depth1": ("#b3cbb2", "#33503f"),
    "depth2": ("#90b095", "#48705a"),
    "depth3": ("#6c9379", "#629176"),
    "depth4": ("#4b765f", "#80b194"),
    "depth5": ("#2a5844", "#a5d3b5"),
}
FONT = "var(--sans, sans-serif)"
_BY_HEX = {light: name for name, (light, _) in COLOURS.items()}
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


def ink(name: str) -> str:
    """The light hex of a named colour, for matplotlib."""
    return COLOURS[name][0]


def themed(name: str) -> str:
    """The value of a named colour in an SVG: that of the page's theme, or the light one."""
    return f"var(--{name}, {ink(name)})"


def colour(position: int) -> str:
    """The colour of the method at that position, the same in every figure."""
    return METHODS[position % len(METHODS)]


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with our settings whatever the user's matplotlib is set to, and leave theirs as they were.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib import style
    except ImportError:
        raise require_extra("matplotlib", "plot") from None

    with style.context(["default", _settings()]), warnings.catch_warnings():
        # Text is kept as text: the browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
        yield


def _settings() -> dict[str, Any]:
    return {
        "svg.fonttype": "none",
        "text.parse_math": False,  # a "$" in a layer's name is a dollar sign
        "text.color": ink("ink"),
        "font.size": 10,
        "axes.edgecolor": ink("soft"),
        "axes.labelcolor": ink("soft"),
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": ink("line"),
        "grid.linewidth": 0.6,
        "xtick.color": ink("soft"),
        "ytick.color": ink("soft"),
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "legend.frameon": False,
        "lines.solid_capstyle": "round",
        "figure.constrained_layout.h_pad": 0.06,
        "figure.constrained_layout.w_pad": 0.06,
    }


def calm(height: float, rows: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `WIDTH` by `height` points with `rows` panels below one another."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    panels = figure.subplots(rows, 1, squeeze=False, **options)
    return figure, [panel[0] for panel in panels]


def sheet(height: float) -> tuple[Figure, Axes]:
    """A blank sheet measured in points from its top left corner: rows of bars need no axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, height / 72))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def bar(axes: Axes, top: float, height: float, length: float, name: str) -> None:
    """A horizontal bar, from 0 to ``length``."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((0, top), length, height, facecolor=ink(name), edgecolor="none"))


def short_ticks(axes: Axes) -> None:
    """Few ticks, with short numbers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(round(value))))


def svg(figure: Figure, title: str) -> str:
    """The figure as one `<svg>` element without prolog: themed, scalable, the same bytes for the same figure.

    `title` is for screen readers; it also salts the ids, so that figures of one page do not share them.
    """
    import matplotlib

    said = clip(title, 400)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": f"niwaki {said}"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    _strip(root)
    used = _references(root)
    for element in root.iter():
        _plain(element, used)
    root.attrib = _frame(said, root.attrib["viewBox"])
    return ElementTree.tostring(root, encoding="unicode")


def blank(height: float, title: str) -> ElementTree.Element:
    """An empty `<svg>` of `WIDTH` by ``height`` points, for what is drawn without matplotlib."""
    return ElementTree.Element("svg", _frame(clip(title, 400), f"0 0 {WIDTH:g} {height:g}"))


def _frame(said: str, box: str) -> dict[str, str]:
    return {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": box,
        "role": "img",
        "aria-label": said,
        "stroke-linejoin": "round",
    }


def _strip(root: ElementTree.Element) -> None:
    """Drop the metadata, and the style sheet: inside a page its `*` rule would reach everything."""
    for child in list(root):
        if child.tag == f"{_SVG}metadata" or child.find(f"{_SVG}style") is not None:
            root.remove(child)


def _references(root: ElementTree.Element) -> set[str]:
    links = {element.get(f"{_XLINK}href", "").removeprefix("#") for element in root.iter()}
    clips = {element.get("clip-path", "").removeprefix("url(#").removesuffix(")") for element in root.iter()}
    return links | clips


def _plain(element: ElementTree.Element, used: set[str]) -> None:
    """No namespaces, no ids that nothing points at, no line breaks inside paths, colours and font by name."""
    element.tag = element.tag.removeprefix(_SVG)
    if element.get("id") not in used:
        element.attrib.pop("id", None)
    if f"{_XLINK}href" in element.attrib:
        element.set("href", element.attrib.pop(f"{_XLINK}href"))
    if "d" in element.attrib:
        element.set("d", " ".join(element.attrib["d"].split()))
    if "style" in element.attrib:
        element.set("style", "; ".join(map(_in_theme, element.attrib["style"].split("; "))))
    element.text = element.text if element.tag == "text" else None
    element.tail = None


def _in_theme(rule: str) -> str:
    name, _, value = rule.partition(": ")
    if name == "font-family":
        return f"font-family: {FONT}"
    if name == "font":  # what matplotlib before 3.10 writes: "10px 'DejaVu Sans', …"
        return f"font: {value.partition('px ')[0]}px {FONT}"
    return f"{name}: {themed(_BY_HEX[value])}" if value in _BY_HEX else rule
