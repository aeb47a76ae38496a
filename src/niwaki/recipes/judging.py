"""What the user's ``evaluate`` measures: the name under which its numbers are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from niwaki.errors import BadInput
from niwaki.recipes.borrowed import call
from niwaki.report.schema import ACCURACY

NAME = "measure_name"


def measure_of(evaluate: Callable[..., Any] | None, settings: Mapping[str, Any]) -> str:
    """What the function says of itself by its attribute ``measure_name``: a text, or a function that gives one for the
    settings with which it is called. What says nothing measures accuracy.

    Raises:
        BadInput: it gives something else.
    """
    told = getattr(evaluate, NAME, ACCURACY)
    told = call(f"evaluate, {NAME}", told, **settings) if callable(told) else told
    if not isinstance(told, str) or not told.strip():
        raise BadInput(f"evaluate: its {NAME} must be what it measures, such as 'F1', or give that; found {told!r}")
    return told


__all__ = ["NAME", "measure_of"]
