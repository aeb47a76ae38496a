"""Other inputs like those given: of other seeds and, where sizes vary, of other sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from niwaki.export.varying import BATCH, SEQUENCE, Dynamic, Sizes, named, sizes_of
from niwaki.graph.observe import Inputs, call_arguments
from niwaki.wrappers import bare


@dataclass(frozen=True, eq=False)
class Sample:
    """Arguments of one call, and in a few words what they are. ``changed``: the sizes that are not as given. ``given``:
    by the user, as they are; a model may refuse what was drawn, such as lengths that are not sorted."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    told: str
    changed: tuple[str, ...] = ()
    given: bool = False


def samples(model: nn.Module, inputs: Inputs, dynamic: Dynamic = False) -> Iterator[Sample]:
    """The inputs given; such with other values; and for each size that varies such of other sizes, at last of all.

    Values are drawn, with a seed, from those that the tensor has, so that ids stay in the vocabulary and numbers in
    their range; masks and other tensors of two values keep their pattern, cropped or repeated, and three dimensions or
    more of one value become normal numbers. Where nothing changes there is no such call. A batch is tried with 1
    and 3, a sequence with half of its length and with 3 more, any other size with half and twice.

    Args:
        model: whose arguments have the names. inputs: as for :func:`niwaki.trace`. dynamic: as for :func:`onnx`.

    Raises:
        BadInput: ``dynamic`` names what the inputs do not have.
    """
    args, kwargs = call_arguments(inputs)
    yield Sample(args, kwargs, "as given", given=True)
    args, kwargs = tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, (args, kwargs))
    tensors = named(bare(model), args, kwargs)
    sizes = sizes_of(dynamic, tensors)
    for seed, lengths in enumerate(_lengths(sizes, tensors), start=1):
        generator = torch.Generator().manual_seed(seed)
        new = {id(t): _drawn(_resized(t, sizes.get(name, {}), lengths), generator) for name, t in tensors.items()}
        if not lengths and all(new[id(t)] is t for t in tensors.values()):
            continue
        ours = tree_map(lambda leaf, new=new: new.get(id(leaf), leaf) if isinstance(leaf, Tensor) else leaf, kwargs)
        theirs = tree_map(lambda leaf, new=new: new.get(id(leaf), leaf) if isinstance(leaf, Tensor) else leaf, args)
        told = ", ".join([*(f"{size} {length}" for size, length in lengths.items()), f"seed {seed}"])
        yield Sample(theirs, ours, told, tuple(lengths))


def _lengths(sizes: Sizes, tensors: Mapping[str, Tensor]) -> Iterator[dict[str, int]]:
    """Of each sample, the sizes that are to be other ones, and how long."""
    given = {size: tensors[name].shape[dim] for name, dims in sizes.items() for dim, size in dims.items()}
    others = {size: _others(size, length) for size, length in given.items()}
    yield {}
    for size, lengths in others.items():
        yield from ({size: length} for length in lengths)
    if len(others) > 1:
        yield {size: lengths[-1] for size, lengths in others.items()}


def _others(size: str, given: int) -> list[int]:
    if size == BATCH:
        tried = [1, 3, 2]
    elif size.endswith(SEQUENCE) or size.startswith(SEQUENCE):
        tried = [max(1, given // 2), given + 3]
    else:
        tried = [max(1, given // 2), 2 * given]
    return [length for length in tried if length != given][:2]


def _resized(t: Tensor, dims: Mapping[int, str], lengths: Mapping[str, int]) -> Tensor:
    for dim, size in dims.items():
        if size in lengths:
            t = t.index_select(dim, torch.arange(lengths[size], device=t.device) % t.shape[dim])
    return t


def _drawn(t: Tensor, generator: torch.Generator) -> Tensor:
    values = t.flatten()
    if t.is_floating_point() and t.dim() >= 3 and bool((values == values[:1]).all()):
        return torch.randn(t.shape, generator=generator).to(t)
    if values.unique().numel() <= 2 or not torch.isfinite(values).all():
        return t
    return values[torch.randint(values.numel(), values.shape, generator=generator).to(t.device)].reshape(t.shape)


__all__ = ["Sample", "samples"]
