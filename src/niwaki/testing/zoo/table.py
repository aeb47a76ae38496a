"""The table of all specimens, and how to pick from it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from niwaki.testing.zoo import (
    attention_modules,
    channels,
    convnets,
    forwards,
    grouped,
    norms,
    recurrent,
    residual,
    sequences,
    sharing,
)
from niwaki.testing.zoo.nursery import Specimen

ZOO: tuple[Specimen, ...] = (
    *convnets.SPECIMENS,
    *residual.SPECIMENS,
    *grouped.SPECIMENS,
    *channels.SPECIMENS,
    *norms.SPECIMENS,
    *sharing.SPECIMENS,
    *sequences.SPECIMENS,
    *recurrent.SPECIMENS,
    *attention_modules.SPECIMENS,
    *forwards.SPECIMENS,
)


def zoo(*tags: str) -> tuple[Specimen, ...]:
    """List the specimens that carry all of ``tags``; without tags, all of them."""
    known = frozenset().union(*(each.tags for each in ZOO))
    for tag in tags:
        if tag not in known:
            raise KeyError(_unknown("tag", tag, known))
    return tuple(each for each in ZOO if each.tags.issuperset(tags))


def specimen(name: str) -> Specimen:
    """Find one specimen by name."""
    by_name = {each.name: each for each in ZOO}
    if name not in by_name:
        raise KeyError(_unknown("specimen", name, by_name))
    return by_name[name]


def _unknown(kind: str, word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0)
    return f"the zoo has no {kind} {word!r}; the nearest is {near[0]!r}"
