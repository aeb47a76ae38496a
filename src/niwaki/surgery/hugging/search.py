"""Find the values of a config from which stock code builds a model of given sizes.

What a field means is not known; but what is built tells how far it is from what is wanted. From every mismatch, a
length that is c and should be t, follow the values to try: a field that divides c may have to shrink by the same ratio.
The nearest is tried first, until nothing comes nearer.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from niwaki.surgery.hugging.facts import facts, sizes
from niwaki.surgery.hugging.fields import Field, changed, fields
from niwaki.surgery.hugging.rebuild import rebuilt

MOST = 64
"""Models that are built before giving up."""
Lengths = Mapping[Any, int]


@dataclass(frozen=True)
class Built:
    """What stock code makes of a config with some values changed."""

    values: Mapping[Field, int | None]
    model: nn.Module
    lengths: Lengths


def lengths(model: nn.Module) -> dict[Any, int]:
    """Sizes of tensors, and whole numbers of modules, under one roof."""
    numbers = {place: n for place, n in facts(model).items() if type(n) is int and n > 0}
    return {**sizes(model), **numbers}


class Search:
    """Builds models of one class from variations of one config."""

    def __init__(self, kind: type[nn.Module], config: Any) -> None:
        self._kind, self._config = kind, config
        self._known = fields(config)
        self.builds = 0
        self.nearest: Built | None = None

    def build(self, values: Mapping[Field, int | None]) -> Built | None:
        """None if the class does not like the values."""
        self.builds += 1
        try:
            model = rebuilt(self._kind, changed(self._config, values))
        except Exception:  # whatever a constructor says to sizes that do not fit together
            return None
        return Built(values, model, lengths(model))

    def fitting(
        self, dense: Built, wanted: Lengths, matters: Callable[[str], bool] = lambda name: True
    ) -> Iterator[Built]:
        """Builds that have all the tensors that matter as they should be. ``nearest``: the best build so far."""
        tensors = set(sizes(dense.model))
        tried = {_key(dense.values)}
        heap = [(distance(dense.lengths, wanted), 0, dense)]
        while heap:
            far, _, here = heapq.heappop(heap)
            self.nearest = min(self.nearest or here, here, key=lambda b: distance(b.lengths, wanted))
            if all(here.lengths.get(k) == wanted.get(k) for k in tensors if matters(k[0])):
                yield here
            for values in self._next(here, wanted):
                if _key(values) in tried or self.builds >= MOST:
                    continue
                tried.add(_key(values))
                there = self.build(values)
                if there is not None and sizes(there.model).keys() == tensors:
                    away = distance(there.lengths, wanted)
                    if away < far - 1e-9:
                        heapq.heappush(heap, (away, self.builds, there))

    def _next(self, here: Built, wanted: Lengths) -> list[dict[Field, int | None]]:
        """First all at once, for fields of which only one value would fit exactly; then one by one."""
        pairs = {(c, wanted[k]) for k, c in here.lengths.items() if wanted.get(k, c) < c}
        single: list[tuple[Field, int]] = []
        exact: dict[Field, set[int]] = {}
        for field, dense in self._known.items():
            now = here.values.get(field, dense)
            for c, t in sorted(pairs):
                if now == c:
                    exact.setdefault(field, set()).add(t)
                if now is None or (c % now == 0 and now * t % c == 0):
                    single.append((field, t if now is None else now * t // c))
        together = {field: values.pop() for field, values in exact.items() if len(values) == 1}
        steps = [{**here.values, field: n} for field, n in sorted(set(single))]
        return [{**here.values, **together}, *steps] if len(together) > 1 else steps


def distance(found: Lengths, wanted: Lengths) -> float:
    """How far the lengths are from what is wanted, in ratios."""
    pairs = [(n, wanted[k]) for k, n in found.items() if k in wanted and wanted[k] != n]
    return sum(abs(math.log(n / m)) if n > 0 and m > 0 else math.inf for n, m in pairs)


def _key(values: Mapping[Field, int | None]) -> frozenset[Any]:
    return frozenset(values.items())


__all__ = ["Built", "Lengths", "Search", "distance", "lengths"]
