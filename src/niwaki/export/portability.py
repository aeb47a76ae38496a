"""What exporters share: forms that every runtime knows, and which sizes may vary."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from niwaki.errors import BadInput, nearest
from niwaki.export.varying import titled
from niwaki.packed.portable import portable

logger = logging.getLogger("niwaki")


def portable_told(model: nn.Module, runtime: str) -> nn.Module:
    """The model, or one that computes the same with packed layers in forms that any runtime knows; the log names
    those."""
    found, changed = portable(model)
    for form in sorted(set(changed.values())):
        names = [name for name, f in changed.items() if f == form]
        logger.warning(
            "%d packed layers hold single entries, for which %s has no product, and are written as %s: %s",
            len(names),
            runtime,
            form,
            ", ".join(names),
        )
    return found


def refuse_bfloat16(model: nn.Module, why: str) -> None:
    """Raise :class:`BadInput` if the model holds any."""
    if any(t.dtype is torch.bfloat16 for t in (*model.parameters(), *model.buffers())):
        raise BadInput(f"{type(model).__name__} holds bfloat16, {why}; write model.float()")


@contextmanager
def without_notes() -> Iterator[None]:
    """Without the warning that torch's exporter gives since it calls a deprecated part of torch itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        yield


def in_order(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors among a call's arguments in the order in which a file takes them.

    Raises:
        BadInput: the file takes another number of tensors, or knows the names of some alone.
    """
    named = titled(list(kwargs), list(kwargs.values()))
    positional = [t for t in tree_leaves(args) if isinstance(t, Tensor)]
    rest, told = names[len(positional) :], ", ".join(names)
    strange = next((name for name in named if name not in rest), None)
    if strange is not None and not set(names).isdisjoint(named):  # in their order one would be taken for another
        taken = "was given by place already" if strange in names else f"is none of these{nearest(strange, rest)}"
        raise BadInput(f"the exported file takes the tensors {told}, and {strange!r} {taken}")
    found = [*positional, *(named[name] for name in (rest if set(named) == set(rest) else named))]
    if len(found) != len(names):
        raise BadInput(f"the exported file takes {len(names)} tensors ({told}), and {len(found)} were given")
    return found


def arrays(found: Any) -> list[Any]:
    """The tensors in a tree, in their order, as NumPy's.

    Raises:
        BadInput: one is of a type that NumPy does not have.
    """
    tensors = [t.detach().cpu() for t in tree_leaves(found) if isinstance(t, Tensor)]
    if any(tensor.dtype is torch.bfloat16 for tensor in tensors):
        raise BadInput("other runtimes are fed by NumPy, which has no bfloat16; give model and inputs in float32")
    return [tensor.numpy() for tensor in tensors]


__all__ = ["arrays", "in_order", "portable_told", "refuse_bfloat16", "without_notes"]
