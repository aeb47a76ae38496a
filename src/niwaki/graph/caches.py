"""Function caches that fill up while a model is watched."""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_KIND: type = type(functools.lru_cache(len))
_known: list[Any] | None = None
_OWN = ("torch", "triton")
"""Their caches hold no tensors of a model's, and some see to it that a thing is done once: the compiler registers its
patterns so, and fails when it does it again."""


@contextmanager
def forgetting() -> Iterator[None]:
    """Empty every ``functools.lru_cache`` of models' code that was filled inside: it may hold tensors that only the
    watched run can use (fake ones, or ones that no gradient can pass), and the user's next forward pass would be given
    those.

    Looking for all caches takes a tenth of a second with large libraries loaded; nested contexts look once.
    """
    global _known
    outermost = _known is None
    known = _known = _caches() if _known is None else _known
    before = [cached.cache_info().misses for cached in known]
    try:
        yield
    finally:
        for cached, misses in zip(known, before, strict=True):
            if cached.cache_info().misses != misses:
                cached.cache_clear()
        if outermost:
            _known = None


def _caches() -> list[Any]:
    found = (item for item in gc.get_objects() if type(item) is _KIND)
    return [item for item in found if str(getattr(item, "__module__", "")).partition(".")[0] not in _OWN]


__all__ = ["forgetting"]
