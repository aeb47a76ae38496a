"""Memory that a forward pass takes: what lies there throughout, and the most that is alive at once."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from niwaki.errors import BadInput
from niwaki.graph.caches import forgetting
from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs, call_arguments, evaluating, skeleton
from niwaki.measure.size import memory
from niwaki.wrappers import uncompiled


def activations(model: nn.Module, inputs: Inputs) -> int:
    """Bytes of results that are alive at once, at most, in one forward pass in eval mode without gradients.

    What kernels need inside themselves is not seen. Computed on tensors without memory, where the model can be run on
    such.
    """
    with evaluating(model), forgetting(), uncompiled(model):
        args, kwargs = call_arguments(inputs)
        if _is_fake(model):
            return _peak(model, args, kwargs)
        from torch._subclasses.fake_tensor import FakeTensorMode

        fake = FakeTensorMode(allow_non_fake_inputs=True)
        try:
            body = skeleton(model, fake)
            with fake:
                return _peak(body, *tree_map(_weightless, (args, kwargs)))
        except Exception:  # it reads values, or calls what cannot be faked
            return _peak(duplicate(model), *call_arguments(inputs))


def peak_memory(model: nn.Module, inputs: Inputs) -> int:
    """Bytes that a forward pass needs: parameters, buffers, inputs, and :func:`activations`."""
    given = [t for t in tree_leaves(call_arguments(inputs)) if isinstance(t, Tensor)]
    return memory(model) + sum(t.numel() * t.element_size() for t in given) + activations(model, inputs)


def allocated(model: nn.Module, inputs: Inputs) -> int:
    """Bytes that a GPU's allocator really handed out for one forward pass in eval mode, at most at once, beside what
    lay there before: :func:`activations`, and what kernels need inside themselves.

    Raises:
        BadInput: the model is not on a GPU of CUDA, which alone keeps such a count.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if device.type != "cuda":
        raise BadInput(
            f"memory that was handed out is counted on CUDA alone, and the model is on {device}: activations()"
        )
    args, kwargs = call_arguments(inputs)
    with evaluating(model), forgetting(), torch.inference_mode():
        model(*args, **kwargs)  # libraries make their workspaces
        torch.cuda.synchronize(device)
        args, kwargs = call_arguments(inputs)  # a cache of keys and values is longer now
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        model(*args, **kwargs)
        torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _is_fake(model: nn.Module) -> bool:
    from torch._subclasses.fake_tensor import FakeTensor

    return any(isinstance(p, FakeTensor) for p in model.parameters())


def _weightless(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)


def _peak(model: nn.Module, args: Any, kwargs: Any) -> int:
    there = [*model.parameters(), *model.buffers(), *(t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor))]
    watch = _Watch({_memory_of(t) for t in there})
    with torch.inference_mode(), watch:
        model(*args, **kwargs)
    return watch.most


class _Watch(TorchDispatchMode):
    """Adds up the memory of results while any tensor in it is alive. ``known``: memory that is not counted."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.known, self.now, self.most = known, 0, 0
        self._holders: dict[int, int] = {}
        self._seen: dict[int, weakref.ref[Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, Tensor):
                self._enter(t)
        self.most = max(self.most, self.now)
        return out

    def _enter(self, tensor: Tensor) -> None:
        place = _memory_of(tensor)
        if place in self.known or id(tensor) in self._seen:
            return
        size = tensor.untyped_storage().nbytes()
        if not self._holders.get(place):
            self.now += size
        self._holders[place] = self._holders.get(place, 0) + 1
        key = id(tensor)
        self._seen[key] = weakref.ref(tensor, lambda _: self._leave(key, place, size))

    def _leave(self, key: int, place: int, size: int) -> None:
        self._seen.pop(key, None)
        self._holders[place] -= 1
        if not self._holders[place]:
            del self._holders[place]
            self.now -= size


def _memory_of(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


__all__ = ["activations", "allocated", "peak_memory"]
