"""All methods by name, and how to build one from plain settings (recipes, the command line)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from niwaki.errors import BadInput, nearest, unknown_key
from niwaki.methods.controls import fixreg, random
from niwaki.methods.gradual import gradual, movement
from niwaki.methods.greg import greg1, greg2
from niwaki.methods.imp import imp
from niwaki.methods.ispasp import ispasp
from niwaki.methods.magnitude import magnitude
from niwaki.methods.method import Method
from niwaki.methods.michel import michel
from niwaki.methods.nm import nm
from niwaki.methods.selections import gfs, topk
from niwaki.methods.spur import spur
from niwaki.scores import SCORES, Score
from niwaki.targets import TARGETS, Ratio, Target

METHODS: dict[str, Callable[..., Method]] = {
    "magnitude": magnitude,
    "random": random,
    "greg1": greg1,
    "greg2": greg2,
    "fixreg": fixreg,
    "ispasp": ispasp,
    "topk": topk,
    "gfs": gfs,
    "michel": michel,
    "imp": imp,
    "spur": spur,
    "gradual": gradual,
    "movement": movement,
    "nm": nm,
}


def build(name: str, settings: Mapping[str, Any]) -> Method:
    """The method called ``name`` with these settings; targets and scores may be given as plain data.

    Raises:
        BadInput: no such method, an unknown setting (the nearest is named), or a value that cannot be.
    """
    if name not in METHODS:
        raise BadInput(
            f"no method is called {name!r}{nearest(name, METHODS) or '.'} Known: {', '.join(sorted(METHODS))}."
        )
    known = inspect.signature(METHODS[name]).parameters
    for key in settings:
        if key not in known:
            raise unknown_key(f"method {name!r}", key, known)
    values = dict(settings)
    if "target" not in values:
        raise BadInput(f"method {name!r} needs a target, for instance target: {{macs: 0.5}}")
    values["target"] = target_from(values["target"])
    if "score" in values:
        values["score"] = score_from(values["score"])
    return METHODS[name](**values)


def target_from(data: Target | Mapping[str, Any]) -> Target:
    """A target from ``{"macs": 0.33, "round_to": 8}``: ratio, macs, params, memory, latency or nm, and its fields."""
    if isinstance(data, Target):
        return data
    if not isinstance(data, Mapping):
        raise BadInput(f"a target is a mapping such as {{macs: 0.5}}, not {data!r}")
    kinds: dict[str, Callable[..., Target]] = {name.lower(): cls for name, cls in TARGETS.items()}
    named = [key for key in data if key in kinds]
    own, *settings = inspect.signature(kinds[named[0]]).parameters if named else inspect.signature(Ratio).parameters
    for key in data:
        if key not in kinds and key not in settings:
            raise unknown_key("target", str(key), [*kinds, *settings])
    if len(named) != 1:
        raise BadInput(f"a target names exactly one of {', '.join(sorted(kinds))}; found {', '.join(named) or 'none'}")
    return kinds[named[0]](**{own: data[named[0]]}, **{k: v for k, v in data.items() if k in settings})


def score_from(data: Score | str | Mapping[str, Any]) -> Score:
    """A score from its name (``"L1"``) or from ``{"name": "Random", "seed": 3}``."""
    if isinstance(data, Score) and not isinstance(data, (str, Mapping)):
        return data
    if not isinstance(data, (str, Mapping)):
        raise BadInput(f"a score is a name such as L1, or a mapping with a name, not {data!r}")
    settings = {"name": data} if isinstance(data, str) else dict(data)
    name = str(settings.pop("name", ""))
    if name not in SCORES:
        raise BadInput(f"no score is called {name!r}{nearest(name, SCORES) or '.'} Known: {', '.join(sorted(SCORES))}.")
    known = inspect.signature(SCORES[name]).parameters
    for key in settings:
        if key not in known:
            raise unknown_key(f"score {name!r}", key, known)
    score: Score = SCORES[name](**settings)
    return score
