"""Labels through a reshape: which old dimensions became which new ones, and what their positions stand for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from niwaki.graph.call import Call
from niwaki.graph.labels import Atoms, Fixed, Free, Label, Reason, distinct
from niwaki.graph.ledger import matching


def reshape(call: Call, labels: Sequence[Label], old: Sequence[int], new: Sequence[int]) -> list[Label]:
    """Labels of a tensor of shape ``old`` read, in the same memory order, as shape ``new``."""
    result: list[Label] = [Free()] * len(new)
    for olds, news in matching(old, new):
        merged = merge(call, [labels[i] for i in olds], [old[i] for i in olds])
        for j, label in zip(news, split(call, merged, [new[j] for j in news]), strict=True):
            result[j] = label
    return result


def merge(call: Call, labels: list[Label], sizes: list[int]) -> Label:
    """The label of several dimensions read as one, in C order."""
    if len(labels) == 1:
        return labels[0]
    atoms = [x for x in labels if isinstance(x, Atoms)]
    if not atoms:
        return next((x for x in labels if isinstance(x, Fixed)), Free(_all_zero(labels)))
    if len(atoms) == 1:
        parent = atoms[0].ids
    elif len({x.ids.tobytes() for x in atoms}) < len(atoms):
        return call.refuse(atoms, "the same units along two dimensions that are read as one")
    else:
        parent = call.ledger.join(tuple(x.ids for x in atoms), call.site)
        if any(x.ids.tobytes() in call.ledger.copies for x in atoms):
            call.hint(atoms[0], "kv_group")
    where = [n if isinstance(x, Atoms) else 1 for x, n in zip(labels, sizes, strict=True)]
    spread = np.broadcast_to(parent.reshape(where), sizes)
    return Atoms(spread.reshape(-1), all(x.clean for x in atoms))


def split(call: Call, label: Label, sizes: list[int]) -> list[Label]:
    """The labels of one dimension read as several, in C order."""
    if len(sizes) == 1:
        return [label]
    if not isinstance(label, Atoms):
        return [label] * len(sizes)
    table = label.ids.reshape(sizes)
    varies = [k for k in range(len(sizes)) if not (table == table.take([0], axis=k)).all()]
    result: list[Label] = [Fixed(Reason("an extent of the data", call.site))] * len(sizes)
    if len(varies) == 1:
        result[varies[0]] = Atoms(_along(table, varies), label.clean)
    elif varies:
        core = _along(table, varies)
        if not distinct(core):
            return [call.refuse([label], "a reshape that mixes units in a way that no cut can follow")] * len(sizes)
        factors = call.ledger.split(core.reshape(-1), core.shape, call.site)
        for k, ids in zip(varies, factors, strict=True):
            result[k] = Atoms(ids, label.clean)
    return result


def _along(table: np.ndarray, dims: list[int]) -> np.ndarray:
    """The table restricted to index 0 of every dimension that is not in ``dims``."""
    return np.ascontiguousarray(table[tuple(slice(None) if k in dims else 0 for k in range(table.ndim))])


def _all_zero(labels: list[Label]) -> bool:
    return all(isinstance(x, Free) and x.zero for x in labels)
