"""One pass through a model as a program of torch.export: what every format is written from."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from niwaki.errors import BadInput
from niwaki.export.portability import without_notes
from niwaki.export.varying import Dynamic, Sizes, dimensions, long_enough, named, sizes_of
from niwaki.export.windows import ClippedWindows
from niwaki.graph.caches import forgetting
from niwaki.graph.observe import Inputs, call_arguments, evaluating, tensors_of
from niwaki.modes import cacheless


@dataclass(frozen=True, eq=False)
class Captured:
    """A program, the names of the tensors that it takes, in their order, and which of their sizes vary."""

    program: torch.export.ExportedProgram
    names: tuple[str, ...]
    sizes: Sizes


def capture_tensors(model: nn.Module, inputs: Inputs, dynamic: Dynamic, format: str) -> Captured:
    """The model as a program that takes tensors alone and gives tensors alone: other arguments are part of it, and of
    its outputs caches are left out.

    Raises:
        BadInput: torch.export cannot take the model, or a size cannot vary; ``format`` is named.
    """
    call = _Call.of(model, inputs, dynamic)
    bound = _Bound(model, call.args, call.kwargs)
    specs = tuple(call.dims.get(name) for name in call.names)
    with _portable(model), _FourDimensions(), ClippedWindows():
        program = call.exported(bound, tuple(bound.tensors), {}, {"tensors": specs}, format)
    return Captured(program, tuple(call.names), call.sizes)


def capture_call(model: nn.Module, inputs: Inputs, dynamic: Dynamic, format: str) -> Captured:
    """The model as a program that is called as the model is. Records among its outputs become dicts, so that nobody
    needs their classes; caches are left out.

    Raises:
        BadInput: torch.export cannot take the model, or a size cannot vary; ``format`` is named.
    """
    call = _Call.of(model, inputs, dynamic)
    specs = {id(t): call.dims.get(name) for name, t in call.names.items()}
    tree = tree_map(lambda leaf: specs.get(id(leaf)) if isinstance(leaf, Tensor) else None, (call.args, call.kwargs))
    with _portable(model), _called_plainly(model, call.args, call.kwargs):
        program = call.exported(model, call.args, call.kwargs, _by_parameter(model, *tree), format)
    return Captured(program, tuple(call.names), call.sizes)


@dataclass(frozen=True, eq=False)
class _Call:
    """A call of the model that is long enough in every size that varies."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    names: dict[str, Tensor]
    sizes: Sizes
    dims: dict[str, dict[int, Any]]

    @classmethod
    def of(cls, model: nn.Module, inputs: Inputs, dynamic: Dynamic) -> _Call:
        args, kwargs = tree_map(_apart, call_arguments(inputs))
        tensors = named(model, args, kwargs)
        sizes = sizes_of(dynamic, tensors)
        args, kwargs = long_enough(sizes, tensors, (args, kwargs))
        return cls(model, args, kwargs, named(model, args, kwargs), sizes, dimensions(sizes))

    def exported(self, module: nn.Module, args: Any, kwargs: Any, shapes: Any, format: str) -> Any:
        """The program; sizes that can vary within bounds alone vary within these."""
        try:
            return _exported(module, args, kwargs, shapes if self.sizes else None)
        except Exception as trouble:
            bounded = _bounded(trouble, shapes) if self.sizes else None
            if bounded is None:
                raise self._told(trouble, format) from trouble
        try:
            return _exported(module, args, kwargs, bounded)
        except Exception as trouble:
            raise self._told(trouble, format) from trouble

    def _told(self, trouble: Exception, format: str) -> BadInput:
        """In the words of who asked: which size could not vary, and what torch.export found."""
        said, model = str(trouble), type(self.model).__name__
        fixed = [(size, found) for size, found in _FIX.findall(said) if size in _words(self.sizes)]
        if not fixed:
            return BadInput(f"{model} cannot be written for {format}: {' '.join(said.split())[:300]}")
        told = "; ".join(f"{size!r} ({self._where(size)}) {_meaning(size, found)}" for size, found in fixed)
        rest = sorted(_words(self.sizes) - {size for size, _ in fixed})
        return BadInput(
            f"{model} cannot be written for {format} with these sizes varying: {told}. The model's code computes with "
            f"the number that it saw in these inputs. Let vary {', '.join(map(repr, rest)) or 'nothing'} "
            "(dynamic=…), or write that code so that it asks tensors for their shapes."
        )

    def _where(self, size: str) -> str:
        places = [(name, dim) for name, dims in self.sizes.items() for dim, word in dims.items() if word == size]
        return ", ".join(f"dimension {dim} of {name}" for name, dim in places)


def _exported(module: nn.Module, args: Any, kwargs: Any, shapes: Any) -> torch.export.ExportedProgram:
    with forgetting():  # tables that the model's code kept are of this pass alone
        return torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False)


_FIX = re.compile(r"^\s*(\w+) = ([^\n]+?)\s*$", re.MULTILINE)
"""A line of torch.export's suggestions."""
_BOUND = re.compile(r"Dim\('\w+'(?:, min=(\d+))?(?:, max=(\d+))?\)")


def _words(sizes: Sizes) -> set[str]:
    return {size for dims in sizes.values() for size in dims.values()}


def _meaning(size: str, found: str) -> str:
    if found.isdigit():
        return f"can be {found} alone"
    return f"can only be what {found} gives"


def _apart(leaf: Any) -> Any:
    """A tensor object of its own, so that one given twice is two."""
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _bounded(trouble: Exception, shapes: Any) -> Any:
    """The shapes with the bounds that torch.export asks for (a table of positions has an end); None if it asks for
    anything else."""
    text = str(trouble).partition("Suggested fixes:")[2]
    fixes = _FIX.findall(text)
    bounds = {size: _BOUND.fullmatch(found) for size, found in fixes}
    if not bounds or not all(bounds.values()):
        return None
    dims = {
        size: torch.export.Dim(size, **{k: int(v) for k, v in zip(("min", "max"), m.groups(), strict=True) if v})
        for size, m in bounds.items()
        if m is not None
    }
    return tree_map(
        lambda dim: dims.get(getattr(dim, "__name__", ""), dim), shapes, is_leaf=lambda d: hasattr(d, "__name__")
    )


def _by_parameter(model: nn.Module, args: Any, kwargs: Any) -> dict[str, Any]:
    """A call's arguments by the names of the parameters that take them."""
    return dict(inspect.signature(model.forward).bind(*args, **kwargs).arguments)


class _Bound(nn.Module):
    """A model of tensors alone."""

    def __init__(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        super().__init__()
        self.model = model
        self._leaves, self._form = tree_flatten((args, kwargs))
        self.tensors = [leaf for leaf in self._leaves if isinstance(leaf, Tensor)]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        left = iter(tensors)
        leaves = [next(left) if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        args, kwargs = tree_unflatten(leaves, self._form)
        return tuple(tensors_of(self.model(*args, **kwargs), caches=False))


@contextmanager
def _called_plainly(model: nn.Module, args: Any, kwargs: Any) -> Iterator[None]:
    """Inside, the model gives no records, and its forward names every argument of this call: torch.export cannot let
    sizes vary where some go to ``**kwargs``."""
    forward, before = model.forward, vars(model).get("forward")
    known = [p for p in inspect.signature(forward).parameters.values() if p.kind is not p.VAR_KEYWORD]
    more = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY) for k in kwargs if k not in {p.name for p in known}]

    def named_forward(*args: Any, **kwargs: Any) -> Any:
        return _plain(forward(*args, **kwargs))

    named_forward.__signature__ = inspect.Signature([*known, *more])  # type: ignore[attr-defined]
    model.forward = named_forward
    try:
        yield
    finally:
        del model.forward
        if before is not None:
            model.forward = before


def _plain(value: Any) -> Any:
    """Tuples, lists and dicts of tensors in place of records and caches."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if any(True for _ in tensors_of({k: v}, caches=False))}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else tuple(map(_plain, value))
    if isinstance(value, Tensor) or not hasattr(value, "__dict__"):
        return value
    return tuple(tensors_of(value, caches=False))


@contextmanager
def _portable(model: nn.Module) -> Iterator[None]:
    """The model as every runtime can take it: no caches, no gradients, experts by operations that all runtimes have."""
    with ExitStack() as stack:
        for context in (
            evaluating(model),
            cacheless(model),
            _gathered_experts(model),
            torch.no_grad(),
            without_notes(),
        ):
            stack.enter_context(context)
        yield


def _gathered_experts(model: nn.Module) -> AbstractContextManager[bool]:
    """Experts of transformers by batched products inside: grouped ones are in no other runtime, and a loop over those
    that were chosen reads values."""
    return _configured(model, "_experts_implementation", "batched_mm")


def plain_attention(model: nn.Module) -> AbstractContextManager[bool]:
    """Attention of transformers by plain products inside, whose results lie in memory as any runtime lays them out: a
    fused kernel's layout makes views of what the model's code copies. Gives whether any was fused."""
    return _configured(model, "_attn_implementation", "eager")


@contextmanager
def _configured(model: nn.Module, key: str, value: str) -> Iterator[bool]:
    """What the configs of a model say for ``key``, where they say anything, is ``value`` inside; was it another?"""
    configs = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    before = [(c, kind) for c in configs.values() if (kind := getattr(c, key, None)) is not None]
    for config, _ in before:
        setattr(config, key, value)
    try:
        yield any(kind != value for _, kind in before)
    finally:
        for config, kind in before:
            setattr(config, key, kind)


class _FourDimensions(TorchFunctionMode):
    """Attention without heads as attention with one: the ONNX exporter knows no other."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is not nn.functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        given = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False)) | kwargs
        if given["query"].dim() != 3:
            return func(*args, **kwargs)
        mask = given.get("attn_mask")
        given |= {name: given[name].unsqueeze(1) for name in ("query", "key", "value")}
        given["attn_mask"] = mask.unsqueeze(1) if isinstance(mask, Tensor) and mask.dim() == 3 else mask
        return func(**given).squeeze(1)


__all__ = ["Captured", "capture_call", "capture_tensors", "plain_attention"]
