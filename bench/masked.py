"""Judge a cut that some tool made: which entries it kept, and does it answer as zeros in place of the others do?

The oracle knows nothing of how the tool works. Gradients that hold the place of every entry go through the cut with the
weights, so that afterwards each says where it came from. The dense model with zeros in place of all that went is then
run beside the cut one; norms leave the zeros out, as they do in the cut model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from niwaki.bench.torch_pruning import aims
from niwaki.graph import Graph
from niwaki.graph.observe import call_arguments
from niwaki.surgery.modules import readable
from niwaki.surgery.reduced import Reduced, reductions
from niwaki.testing.laws.verdict import worst_difference
from niwaki.units import Axis

TOLERANCE = 1e-4

Removed = Mapping[Axis, tuple[int, ...]]


class CannotSay(Exception):
    """The oracle has no way to judge this cut."""


def tag(model: nn.Module) -> None:
    """Give every parameter a gradient that says where each entry is."""
    for name, p in model.named_parameters():
        if p.numel() >= 2**24:
            raise CannotSay(f"{name} has too many entries to number them in single precision")
        p.requires_grad_(True)
        p.grad = torch.arange(p.numel(), dtype=p.dtype).reshape(p.shape)


def removed_between(dense: nn.Module, cut: nn.Module) -> Removed:
    """What went of each tensor, under every name that it has."""
    found: dict[Axis, tuple[int, ...]] = {}
    old, new = _tensors(dense), _tensors(cut)
    for name, before in old.items():
        after = new.get(name)
        if after is None:
            raise CannotSay(f"{name} is no longer there")
        for dim, kept in enumerate(_kept(name, before, after)):
            gone = np.setdiff1d(np.arange(before.shape[dim]), kept)
            if gone.size:
                found[Axis(name, dim)] = tuple(gone.tolist())
    return found


def _kept(name: str, before: Tensor, after: Tensor) -> list[np.ndarray]:
    """The kept indices of every dimension."""
    if before.dim() != after.dim():
        raise CannotSay(f"{name} has {after.dim()} dimensions now, it had {before.dim()}")
    if isinstance(after, nn.Parameter) and after.grad is not None and after.grad.shape == after.shape:
        return _by_tags(name, before, after.grad.detach().numpy().astype(np.int64))
    if before.shape == after.shape:
        return [np.arange(n) for n in before.shape]
    return _by_values(name, before.detach().numpy(), after.detach().numpy())


def _by_tags(name: str, before: Tensor, tags: np.ndarray) -> list[np.ndarray]:
    if not tags.size:
        raise CannotSay(f"nothing is left of {name}")
    places = np.unravel_index(tags, before.shape)
    lines = [np.moveaxis(place, d, 0).reshape(tags.shape[d], -1)[:, 0] for d, place in enumerate(places)]
    if not np.array_equal(np.ravel_multi_index(np.ix_(*lines), before.shape), tags):
        raise CannotSay(f"what is left of {name} is no grid of rows and columns")
    return lines


def _by_values(name: str, before: np.ndarray, after: np.ndarray) -> list[np.ndarray]:
    """Without tags (buffers, weights that a tool makes anew): slices are known by what they hold."""
    lines = [np.arange(n) for n in before.shape]
    shrunk = [d for d in range(before.ndim) if before.shape[d] != after.shape[d]]
    if len(shrunk) != 1:
        raise CannotSay(f"{name} shrank in {len(shrunk)} dimensions and carries no tags")
    dim = shrunk[0]
    rows = [row.tobytes() for row in np.moveaxis(before, dim, 0).copy()]
    left = [row.tobytes() for row in np.moveaxis(after, dim, 0).copy()]
    if len(set(rows)) != len(rows) or not set(left) <= set(rows):
        raise CannotSay(f"what is left of {name} cannot be told from its values")
    lines[dim] = np.array([rows.index(row) for row in left])
    return lines


def masked(dense: nn.Module, removed: Removed) -> nn.Module:
    """A copy with zeros in place of what went. Weights that were tied and were cut apart are apart here too."""
    twin = copy.deepcopy(dense).eval()
    old = _tensors(dense)
    for name in {axis.name for axis in removed}:
        value = old[name].detach().clone()
        for axis, gone in removed.items():
            if axis.name == name:
                value.index_fill_(axis.dim, torch.tensor(gone), 0)
        place, _, leaf = name.rpartition(".")
        holder = twin.get_submodule(place)
        setattr(holder, leaf, nn.Parameter(value) if leaf in holder._parameters else value)
    return twin


def difference(dense: nn.Module, cut: nn.Module, removed: Removed, inputs: Any, graph: Graph | None) -> float:
    """How far the cut model is from its masked twin, relative to the largest output. Of the two ways to let norms leave
    zeros out (every call that the coupling graph knows; every norm module that lost weights) the better one counts."""
    found = answers(cut, inputs)
    ways = [_norms_by_module, *([_norms_by_graph] if graph is not None else [])]
    references = [way(dense, removed, inputs, graph) for way in ways]
    finite = [r for r in references if r is not None and all(bool(t.isfinite().all()) for t in r)]
    if not finite:
        raise CannotSay("the masked twin gives values that are not finite")
    return min(worst_difference(reference, found) for reference in finite)


def _norms_by_graph(dense: nn.Module, removed: Removed, inputs: Any, graph: Graph | None) -> list[Tensor] | None:
    twin = masked(dense, removed)
    over = reductions(graph, SimpleNamespace(removed=removed))  # type: ignore[arg-type]
    try:
        with readable(twin), Reduced(over) as reduced:
            found = answers(twin, inputs)
    except Exception:  # a cut that contradicts the graph can make no sense to it
        return None
    return None if reduced.missed else found


def _norms_by_module(dense: nn.Module, removed: Removed, inputs: Any, graph: Graph | None) -> list[Tensor] | None:
    twin = masked(dense, removed)
    for name, module in twin.named_modules():
        gone = removed.get(Axis(f"{name}.weight", 0))
        if gone and "Norm" in type(module).__name__ and "Batch" not in type(module).__name__:
            module.forward = _narrowed(module, gone)  # type: ignore[method-assign]
    try:
        return answers(twin, inputs)
    except Exception:
        return None


def _narrowed(norm: nn.Module, gone: tuple[int, ...]) -> Any:
    """The forward pass of a norm over what stays of the last dimension (of the second, for norms of channels)."""
    weight = norm.weight
    kept = torch.tensor(np.setdiff1d(np.arange(len(weight)), gone))
    small = copy.deepcopy(norm)
    for name, p in list(small.named_parameters(recurse=False)):
        setattr(small, name, nn.Parameter(p.detach().index_select(0, kept)))
    if isinstance(small, nn.LayerNorm):
        small.normalized_shape = (len(kept),)
    if isinstance(small, nn.GroupNorm):
        small.num_channels = len(kept)
    dim = 1 if isinstance(small, (nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)) else -1

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return torch.zeros_like(x).index_copy(dim, kept, small(x.index_select(dim, kept), *args, **kwargs))

    return forward


def answers(model: nn.Module, inputs: Any) -> list[Tensor]:
    """What the model is for: its logits where it has such, else all its floating-point outputs."""
    args, kwargs = call_arguments(inputs)
    with torch.no_grad():
        return aims(model.eval()(*args, **kwargs))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict([*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)])
