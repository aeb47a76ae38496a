"""What the pages have in common: their templates, the colours of both themes, and how values are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING, Any

from . import compare
from .canvas import COLOURS

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["fill"]


def fill(name: str, **facts: Any) -> str:
    """The template of that name with these facts; every string among them is escaped."""
    from markupsafe import Markup

    return (
        _environment().get_template(name).render(**facts, palette=Markup(_palette()), css=Markup(_read("report.css")))
    )


def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Only our own drawings are taken as markup; `canvas.svg` has escaped the text inside them.
    environment.filters.update(drawn=Markup, flat=_flat, error=_error, verdict=compare.verdict, seconds=_seconds)
    return environment


def _read(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _palette() -> str:
    def rules(theme: int) -> str:
        return " ".join(f"--{name}: {pair[theme]};" for name, pair in COLOURS.items())

    # Dark is for screens only: on paper the light colours stand.
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {rules(1)} }} }}"
    return f":root {{ {rules(0)} }}\n{dark}"


def _flat(tree: dict[str, Any]) -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) pairs; lists are shown as JSON."""
    return list(_leaves("", tree))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and (value or not name):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}" if name else key, item)
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _error(value: float | None) -> str:
    """A worst error or a tolerance; None stands for outputs that were not finite."""
    return "not finite" if value is None else "0" if value == 0 else f"{value:.1e}"


def _seconds(value: float) -> str:
    if value < 120:
        return f"{value:.1f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
