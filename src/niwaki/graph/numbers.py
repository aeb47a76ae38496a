"""Whole numbers that modules keep beside their tensors, and which lengths they stand for.

``self.num_heads`` in ``view(b, t, self.num_heads, self.head_dim)`` is not seen by an operation, which is given plain
numbers. But the module is known in which the operation ran, and the length that it made: an attribute of that module
with that very value, and with a name that says "a size", is taken to be meant. The dry run proves it or withdraws
what depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
from torch import nn

from niwaki.graph.ledger import Extent, Ledger, Number

COUNT = re.compile(
    r"heads?$|^n_?head|^num_(?!key_value_groups)\w*(groups|experts|branches|slots)$|^h$|^(n_|num_)?groups$"
)
COPIES = re.compile(r"key_value_groups$|n_rep$|^n_?groups?_?size$|queries_per|q_per_kv|heads_per|num_kv_groups$")
INNER = re.compile(
    r"head_(dim|size|channels|width)|attention_head_size|^d_(k|v|kv|head)$|_proj_dim$|dim_(per_)?head|hdim|ndims$"
)
WIDTH = re.compile(
    r"dim|size|width|features|channels|planes|hidden|inner|embed|units|d_model|d_ff|d_inner|^nf$|^nx$|^n_embd$|^c$|^d$"
)
NEVER = re.compile(
    r"(^|_)(idx|index|id|ids|layers?|level|depth|kernel|stride|padding|pad|dilation|window|patch|image|vocab|position|"
    r"positions|seq|length|max|min|num_embeddings|buckets|distance|ratio|chunk|block|batch|tokens?|step|steps|conv)(_|$)"
)


FOLLOWED: dict[type | str, frozenset[str]] = {}
"""Attributes that an adapter sets, by module class (or its full name): what they stand for need not be found out."""

NEARLY: Mapping[str | None, tuple[str, ...]] = {
    "count": ("width",),
    "inside": ("width",),
    "width": ("inside",),
    "copies": ("count",),
}
"""Where nothing is of the promised sense: what may be meant all the same. (One head has the width of all.)"""


NORMS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "instance_norm": (("num_features",), 1),
    "group_norm": (("num_channels", "num_groups"), 1),
    "layer_norm": (("normalized_shape",), -1),
    "rms_norm": (("normalized_shape",), -1),
}
"""What a norm of torch keeps about the length of which dimension. Where it has tensors, its adapter sets that."""


def bind(model: nn.Module, ledger: Ledger) -> Iterator[Number]:
    """Every attribute that names a length seen in its module or, failing that, in a child of it; and those of norms
    that have no tensors, from which an adapter could tell what is left."""
    yield from _of_norms(model, ledger)
    seen = _by_module(ledger.extents)
    below: dict[str, dict[bytes, Extent]] = {}
    for name, extents in seen.items():
        if name:
            below.setdefault(name.rpartition(".")[0], {}).update(extents)
    for name, module in model.named_modules():
        if not type(module).__module__.startswith("torch.nn."):
            for attribute, value in (*_own(module), *_config(module)):
                fitting = _fitting(ledger, seen.get(name, {}), attribute, value)
                if not fitting and _sense(attribute) not in ("width", None):
                    fitting = _fitting(ledger, below.get(name, {}), attribute, value)
                if fitting:
                    yield Number(name, attribute, value, fitting)


def _of_norms(model: nn.Module, ledger: Ledger) -> Iterator[Number]:
    modules = dict(model.named_modules())
    found: dict[tuple[str, str], dict[bytes, np.ndarray]] = {}
    for site, seen in ledger.calls:
        attributes, dim = NORMS.get(site.op, ((), 0))
        module, ids = modules[site.module], seen[dim][1] if attributes else None
        if ids is None or any(True for _ in chain(module.parameters(), module.buffers())):
            continue
        for attribute in attributes:
            if getattr(module, attribute, None) in (ids.size, (ids.size,)):
                found.setdefault((site.module, attribute), {})[ids.tobytes()] = ids
    for (name, attribute), lengths in found.items():
        if len(lengths) == 1:  # one norm in several places would keep them equal, for a number that is seldom read
            (ids,) = lengths.values()
            yield Number(name, attribute, ids.size, (ids,))


def _by_module(extents: Iterable[Extent]) -> dict[str, dict[bytes, Extent]]:
    """Distinct extents by the module in which they were seen."""
    found: dict[str, dict[bytes, Extent]] = {}
    for extent in sorted(extents, key=lambda e: not e.made):
        found.setdefault(extent.module, {}).setdefault(extent.ids.tobytes(), extent)
    return found


def _fitting(ledger: Ledger, extents: Mapping[bytes, Extent], attribute: str, value: int) -> tuple[np.ndarray, ...]:
    """The extents of that length, those of the sense that the name promises if there are any. Of whole widths that were
    only named again, a single one: which of several was meant is not to be known."""
    wanted = _sense(attribute.rpartition(".")[2])
    same = [e for e in extents.values() if e.ids.size == value] if wanted else []
    places = [(e, _place(ledger, e.ids)) for e in same]
    same = [e for e, place in places if place == wanted] or [
        e for e, place in places if place in NEARLY.get(wanted, ())
    ]
    made = [e.ids for e in same if e.made]
    return tuple(made or ([e.ids for e in same] if len(same) == 1 or wanted == "inside" else []))


def _own(module: nn.Module) -> Iterator[tuple[str, int]]:
    followed = _followed(type(module))
    for name, value in vars(module).items():
        if type(value) is int and value > 1 and not name.startswith("_") and name not in followed:
            yield name, value


def _followed(cls: type) -> frozenset[str]:
    kinds = (kind for base in cls.__mro__ for kind in (base, f"{base.__module__}.{base.__qualname__}"))
    return frozenset().union(*(FOLLOWED.get(kind, ()) for kind in kinds))


def _config(module: nn.Module) -> Iterator[tuple[str, int]]:
    """Numbers of the ``config`` object that a Hugging Face module reads when it runs."""
    config: Any = getattr(module, "config", None)
    if hasattr(config, "to_dict") and hasattr(config, "__dict__") and not hasattr(module, "config_class"):
        for name, value in vars(config).items():
            if type(value) is int and value > 1 and not name.startswith("_"):
                yield f"config.{name}", value


def _sense(name: str) -> str | None:
    """What kind of length a name promises: a count of blocks, of copies, what is inside a block, or a whole width."""
    if NEVER.search(name):
        return None
    senses = (("copies", COPIES), ("inside", INNER), ("count", COUNT), ("width", WIDTH))
    return next((sense for sense, pattern in senses if pattern.search(name)), None)


def _place(ledger: Ledger, ids: np.ndarray) -> str:
    """Which part of a grid the atoms are, if any."""
    if ids.tobytes() in ledger.copies:
        return "copies"
    if ledger.is_inner(ids):
        return "inside"
    return "count" if ids.tobytes() in ledger.outer else "width"
