"""The paths behind a verdict: which operations tied an axis to the reason that blocks it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from niwaki.graph.couple import Coupling
from niwaki.graph.labels import Reason, Site
from niwaki.graph.ledger import Ledger
from niwaki.units import Axis


@dataclass(frozen=True)
class Chain:
    """The operations between an axis and what blocks it, nearest first."""

    steps: tuple[str, ...]


def first_ties(ledger: Ledger, axes: Iterable[Axis]) -> dict[Axis, Site]:
    """For each axis, the first operation that tied it to anything."""
    found: dict[Axis, Site] = {}
    wanted = {axis: ledger.axes[axis] for axis in axes}
    for tie in ledger.ties:
        low, high = min(tie.left.min(), tie.right.min()), max(tie.left.max(), tie.right.max())
        for axis, ids in list(wanted.items()):
            if ids[0] > high or ids[-1] < low:
                continue
            if np.isin(tie.left, ids).any() or np.isin(tie.right, ids).any():
                found[axis] = tie.site
                del wanted[axis]
    return found


class Web:
    """The relations of a trace, laid out once for any number of questions: what blocks each atom, and its neighbours by
    ties and grids."""

    def __init__(self, ledger: Ledger, coupling: Coupling) -> None:
        self._ledger, self._coupling = ledger, coupling
        self._blocks = {int(i): b.reason for b in reversed(ledger.blocks) for i in b.ids}
        self._blocked = {int(coupling.component[i]) for i in self._blocks}

    def reason(self, atom: int) -> Reason | None:
        """What blocks this very atom: a block of its own or, where none of its component has one, one of them all."""
        component = int(self._coupling.component[atom])
        return self._blocks.get(atom) if component in self._blocked else self._coupling.reasons.get(component)

    def beside(self, atom: int) -> Iterator[tuple[int, str]]:
        """The atoms that an operation relates with this one, each with the operation."""
        starts, targets, sites = self._edges
        for k in range(*np.searchsorted(starts, [atom, atom + 1]).tolist()):
            yield int(targets[k]), self._sites[int(sites[k])]

    @cached_property
    def _sites(self) -> list[str]:
        grids = [f"{g.site} (read as a grid)" for g in self._ledger.grids for _ in g.factors]
        return [*(str(tie.site) for tie in self._ledger.ties), *grids]

    @cached_property
    def _edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where each edge starts, in ascending order, where it ends, and the number of its operation."""
        pairs = [(tie.left.ravel(), tie.right.ravel()) for tie in self._ledger.ties]
        for grid in self._ledger.grids:
            for k, factor in enumerate(grid.factors):
                shape = [-1 if d == k else 1 for d in range(grid.parent.ndim)]
                pairs.append((grid.parent.ravel(), np.broadcast_to(factor.reshape(shape), grid.parent.shape).ravel()))
        nothing = np.zeros(0, np.int64)
        starts = np.concatenate([nothing, *(side for a, b in pairs for side in (a, b))])
        targets = np.concatenate([nothing, *(side for a, b in pairs for side in (b, a))])
        sites = np.repeat(np.arange(len(pairs)), [2 * a.size for a, _ in pairs])
        order = np.argsort(starts, kind="stable")
        return starts[order], targets[order], sites[order]


def chain_to(web: Web, atom: int) -> tuple[Reason, Chain] | None:
    """The nearest reason that blocks ``atom``, through ties and grids, with the operations on the way."""
    queue, came = deque([atom]), {atom: (-1, "")}
    while queue:
        here = queue.popleft()
        reason = web.reason(here)
        if reason is not None:
            return reason, Chain(_walk(came, here))
        for there, site in web.beside(here):
            if there not in came:
                came[there] = here, site
                queue.append(there)
    return None


def _walk(came: dict[int, tuple[int, str]], end: int) -> tuple[str, ...]:
    """The steps from the start to ``end``, repeated ones once."""
    steps: list[str] = []
    while end >= 0:
        end, text = came[end]
        if text and (not steps or steps[-1] != text):
            steps.append(text)
    return tuple(reversed(steps))
