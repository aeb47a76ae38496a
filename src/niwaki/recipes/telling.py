"""What ``niwaki explain`` and ``niwaki methods`` print, as plain text."""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Callable
from typing import Any

from niwaki.errors import BadInput, nearest
from niwaki.graph import Graph
from niwaki.graph.labels import Reason
from niwaki.methods import METHODS
from niwaki.units import Axis
from niwaki.wording import some

_NAMED = 4  # axes that are named for each reason


def overview(graph: Graph) -> str:
    """The groups, the coverage, and everything that is blocked, grouped by reason, the biggest first."""
    lines = [str(graph)]
    if graph.blocked:
        lines += ["", f"{len(graph.blocked)} axes cannot be pruned, or only in part:"]
    for found, entries in stopped(graph):
        lines += _told(found, entries)
    return "\n".join(lines)


def stopped(graph: Graph) -> list[tuple[list[tuple[Axis, Reason]], int]]:
    """The axes that are blocked, with their reasons, those of one reason together, and how many entries their tensors
    have; the biggest first. One reason in many places (each convolution has its kernel's size) is one."""
    by_reason: dict[tuple[str, str], list[tuple[Axis, Reason]]] = {}
    for axis, reason in graph.blocked.items():
        by_reason.setdefault((reason.text, reason.advice), []).append((axis, reason))
    pairs = [(found, _entries(graph, [axis for axis, _ in found])) for found in by_reason.values()]
    return sorted(pairs, key=lambda pair: -pair[1])


def _told(found: list[tuple[Axis, Reason]], entries: int) -> list[str]:
    """One reason, where it happened first, and the axes that it stops."""
    axes = [axis for axis, _ in found]
    places = len({reason.site for _, reason in found})
    elsewhere = f" (and in {places - 1} more places)" if places > 1 else ""
    return [
        f"  {found[0][1]}{elsewhere}",
        f"    {some(list(map(str, axes)), _NAMED)} ({entries:,} entries)",
    ]


def tensor(graph: Graph, name: str, dim: int | None) -> str:
    """The verdict on one dimension of a tensor, or on all of them."""
    if dim is not None:
        return str(graph.explain(name, dim))
    first = graph.explain(name, 0).axis.name
    return "\n\n".join(str(graph.explain(name, d)) for d in range(len(graph.shapes[first])))


def catalogue() -> str:
    """All methods, one line each."""
    width = max(map(len, METHODS))
    lines = [f"{name:<{width}}  {_plain(_card(make).split(chr(10))[0])}" for name, make in sorted(METHODS.items())]
    return "\n".join([*lines, "", "niwaki methods NAME shows the card of one."])


def card(name: str) -> str:
    """The full card of a method: what it is, when to use it, its settings, where it departs from its paper."""
    if name not in METHODS:
        raise BadInput(
            f"no method is called {name!r}{nearest(name, METHODS) or '.'} Known: {', '.join(sorted(METHODS))}."
        )
    make = METHODS[name]
    lines = [f"{name}{_signature(make)}", "", _plain(_card(make))]
    departs = _departs(make)
    if departs:
        lines += ["", "Departs from its paper:", *(f"  - {_plain(text)}" for text in departs)]
    return "\n".join(lines)


def _card(make: Callable[..., Any]) -> str:
    return inspect.getdoc(make) or "(no card)"


def _signature(make: Callable[..., Any]) -> str:
    """The arguments and their defaults, without the types."""
    shown = [
        p.name if p.default is p.empty else f"{p.name}={p.default!r}"
        for p in inspect.signature(make).parameters.values()
    ]
    return f"({', '.join(shown)})"


def _departs(make: Callable[..., Any]) -> tuple[str, ...]:
    """From the method's file, or else from the method that it makes out of a target alone."""
    told = getattr(sys.modules[make.__module__], "DEPARTS", None)
    if told is None:
        from niwaki.targets import Ratio

        try:
            told = make(Ratio(0.5)).departs
        except Exception:  # it wants more than a target: its card has to do
            told = ()
    return tuple(told)


def _plain(text: str) -> str:
    """Markup of docstrings out: roles, double backticks, emphasis."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"\1", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    return re.sub(r"(?<![\w*])\*(\w[^*\n]*)\*(?![\w*])", r"\1", text)


def _entries(graph: Graph, axes: list[Axis]) -> int:
    return sum(math.prod(graph.shapes[name]) for name in {axis.name for axis in axes})
