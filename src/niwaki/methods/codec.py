"""Methods to JSON and back: every value by its class name and fields; unknown ones are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from niwaki import schedules
from niwaki.errors import BadInput, nearest, unknown_key
from niwaki.methods import parts, press, selectors
from niwaki.methods.gradually import Gradually
from niwaki.methods.method import Method
from niwaki.methods.michel import Sensitive
from niwaki.methods.recover import Recover
from niwaki.methods.regularize import Regularize
from niwaki.methods.several import Sequence, Together
from niwaki.methods.view import Sampling
from niwaki.penalties import PENALTIES
from niwaki.scores import SCORES
from niwaki.targets import TARGETS

_PARTS = ("Choose", "Hold", "Wait", "Mask", "Cut", "Remember", "Rewind")


def _kinds() -> dict[str, type]:
    found: dict[str, type] = {"Method": Method, **SCORES, **TARGETS}
    found.update({name: getattr(parts, name) for name in _PARTS})
    found.update({"Sequence": Sequence, "Together": Together, "Regularize": Regularize, "Gradually": Gradually})
    found.update({"Press": press.Press, "Spread": press.Spread})
    found.update({"Recover": Recover, "Sensitive": Sensitive, "Sampling": Sampling})
    found.update({name: getattr(selectors, name) for name in ("Pursuit", "Heaviest", "Greedy")})
    found.update({"Ramp": schedules.Ramp, "Constant": schedules.Constant, **PENALTIES})
    return found


def to_json(value: Any) -> Any:
    """Plain data for a method or any part of one."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            "kind": type(value).__name__,
            **{f.name: to_json(getattr(value, f.name)) for f in fields(value)},
        }
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if isinstance(value, Mapping):
        return {"kind": "dict", "items": {k: to_json(v) for k, v in value.items()}}
    return value


def from_json(data: Any) -> Any:
    """What :func:`to_json` was given.

    Raises:
        BadInput: an unknown kind or field, naming the nearest known one.
    """
    if isinstance(data, list):
        return tuple(from_json(v) for v in data)
    if not isinstance(data, Mapping):
        return data
    kinds, kind = _kinds(), data.get("kind")
    if kind == "dict" and isinstance(data.get("items"), Mapping):
        return {k: from_json(v) for k, v in data["items"].items()}
    if not isinstance(kind, str) or kind not in kinds:
        raise BadInput(f"unknown kind {kind!r}{nearest(str(kind), kinds) or '.'} Known: {', '.join(sorted(kinds))}.")
    known = [f.name for f in fields(kinds[kind])]
    values = {k: from_json(v) for k, v in data.items() if k != "kind"}
    for key in values:
        if key not in known:
            raise unknown_key(kind, key, known)
    try:
        return kinds[kind](**values)
    except TypeError as trouble:
        raise BadInput(f"{kind} cannot be made of {sorted(values)}: {trouble}") from trouble
