"""The table of all families, and how to pick from it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from niwaki.testing.families import (
    convnets,
    decoders,
    encoders,
    experts,
    handmade_attention,
    handmade_branches,
    handmade_chains,
    handmade_mixers,
    handmade_mobile,
    handmade_recurrent,
    handmade_reparametrized,
    handmade_tables,
    recurrences,
    seq2seq,
    speech,
    vision,
)
from niwaki.testing.families.family import Family

FAMILIES: tuple[Family, ...] = (
    *encoders.FAMILIES,
    *decoders.FAMILIES,
    *experts.FAMILIES,
    *recurrences.FAMILIES,
    *seq2seq.FAMILIES,
    *speech.FAMILIES,
    *vision.FAMILIES,
    *convnets.FAMILIES,
    *handmade_chains.FAMILIES,
    *handmade_mobile.FAMILIES,
    *handmade_branches.FAMILIES,
    *handmade_reparametrized.FAMILIES,
    *handmade_attention.FAMILIES,
    *handmade_mixers.FAMILIES,
    *handmade_recurrent.FAMILIES,
    *handmade_tables.FAMILIES,
)


def families(*tags: str) -> tuple[Family, ...]:
    """List the families that carry all of ``tags``; without tags, all of them."""
    known = frozenset().union(*(each.tags for each in FAMILIES))
    for tag in tags:
        if tag not in known:
            raise KeyError(_unknown("tag", tag, known))
    return tuple(each for each in FAMILIES if each.tags.issuperset(tags))


def family(name: str) -> Family:
    """Find one family by name."""
    by_name = {each.name: each for each in FAMILIES}
    if name not in by_name:
        raise KeyError(_unknown("family", name, by_name))
    return by_name[name]


def _unknown(kind: str, word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0)
    return f"the table has no {kind} {word!r}; the nearest is {near[0]!r}"
