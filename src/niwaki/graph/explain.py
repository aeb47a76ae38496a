"""The paths behind a verdict: which operations tied an axis to the reason that blocks it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

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


def chain_to(ledger: Ledger, coupling: Coupling, atom: int) -> tuple[Reason, Chain] | None:
    """The nearest reason that blocks ``atom``, through ties and grids, with the operations on the way."""
    blocks = {int(i): b.reason for b in reversed(ledger.blocks) for i in b.ids}
    edges = _edges(ledger, coupling, atom)
    queue, came = deque([atom]), {atom: (-1, "")}
    while queue:
        here = queue.popleft()
        reason = blocks.get(here) or coupling.reasons.get(int(coupling.component[here]))
        if reason is not None and (here in blocks or not _has_block(coupling, blocks, here)):
            return reason, Chain(_walk(came, here))
        for there, site in edges.get(here, ()):
            if there not in came:
                came[there] = here, site
                queue.append(there)
    return None


def _has_block(coupling: Coupling, blocks: dict[int, Reason], atom: int) -> bool:
    component = coupling.component[atom]
    return any(coupling.component[i] == component for i in blocks)


def _edges(ledger: Ledger, coupling: Coupling, atom: int) -> dict[int, list[tuple[int, str]]]:
    """Neighbours of every atom that can be reached from ``atom``: ties within components, grids between them."""
    wanted = _related(ledger, coupling, int(coupling.component[atom]))
    edges: dict[int, list[tuple[int, str]]] = {}

    def link(left: np.ndarray, right: np.ndarray, text: str) -> None:
        keep = np.isin(coupling.component[left], wanted)
        for a, b in zip(left[keep].tolist(), right[keep].tolist(), strict=True):
            edges.setdefault(a, []).append((b, text))
            edges.setdefault(b, []).append((a, text))

    for tie in ledger.ties:
        link(tie.left.ravel(), tie.right.ravel(), str(tie.site))
    for grid in ledger.grids:
        for k, factor in enumerate(grid.factors):
            shape = [-1 if d == k else 1 for d in range(grid.parent.ndim)]
            spread = np.broadcast_to(factor.reshape(shape), grid.parent.shape).ravel()
            link(grid.parent.ravel(), spread, f"{grid.site} (read as a grid)")
    return edges


def _related(ledger: Ledger, coupling: Coupling, component: int) -> np.ndarray:
    """The component, and those that grids connect it with."""
    found = {component}
    while True:
        more = set(found)
        for grid in ledger.grids:
            parts = [np.unique(coupling.component[a]) for a in (grid.parent, *grid.factors)]
            if any(found & set(p.tolist()) for p in parts):
                for p in parts:
                    more |= set(p.tolist())
        if more == found:
            return np.array(sorted(found))
        found = more


def _walk(came: dict[int, tuple[int, str]], end: int) -> tuple[str, ...]:
    """The steps from the start to ``end``, repeated ones once."""
    steps: list[str] = []
    while end >= 0:
        end, text = came[end]
        if text and (not steps or steps[-1] != text):
            steps.append(text)
    return tuple(reversed(steps))
