"""Which linear layers of a model can be packed, with what they are called, and why the others stay dense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.graph.observe import Inputs, call_arguments, evaluating, slow_attention, tensors_of
from niwaki.packed import is_linear, matrix
from niwaki.surgery.certify import answers


@dataclass(frozen=True, eq=False)
class Candidate:
    """A linear layer. ``alive``: bool of (outputs, inputs), true where the weight is not zero. ``inputs``: the largest
    that it is called with, as an empty tensor on the meta device; None if it is not called. ``refusal``: why it must
    stay dense; empty if it may be packed."""

    name: str
    module: nn.Module
    alive: Tensor
    inputs: Tensor | None
    refusal: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what it is called with; () if it is not."""
        return () if self.inputs is None else tuple(self.inputs.shape)

    @property
    def zeros(self) -> float:
        return 1.0 - float(self.alive.float().mean())


def linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of each, subclasses too."""
    return ((name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear) or is_linear(m))


def candidates(model: nn.Module, inputs: Inputs) -> list[Candidate]:
    """All linear layers, in the model's order; a module that is held in several places under its first name."""
    layers = dict(linear_layers(model))
    called = _called(model, layers, inputs)
    refusals = {name: _refusal(m) for name, m in layers.items()}
    held = _held_elsewhere(model, [name for name, refusal in refusals.items() if not refusal])
    found = []
    for name, module in layers.items():
        if refusals[name]:
            found.append(Candidate(name, module, torch.ones(0), called.get(name), refusals[name]))
            continue
        alive = (matrix(module) != 0).cpu()
        weight: Any = module.weight
        refusal = "its weight has no zeros" if alive.all() else ""
        refusal = f"its weight is also that of {held[id(weight)]!r}" if id(weight) in held else refusal
        refusal = refusal or ("" if name in called else "it was not called on the inputs given")
        found.append(Candidate(name, module, alive, called.get(name), refusal))
    return found


def _refusal(module: nn.Module) -> str:
    weight = module._parameters.get("weight")
    if weight is None:
        return "its weight is computed from other tensors: make it plain first (torch.nn.utils.parametrize or prune)"
    if not is_linear(module):
        return f"it is a {type(module).__name__}, of which more than its forward pass may be used"
    if not weight.is_floating_point():
        return f"its weight is of {weight.dtype}"
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        return "it has hooks, which would stay with the dense layer: remove them, pack, and register them again"
    return ""


def _held_elsewhere(model: nn.Module, names: Iterable[str]) -> dict[int, str]:
    """Tensors that something else than the layers of these names holds, by id, with its name."""
    wanted = set(names)
    others = ((name, m) for name, m in model.named_modules() if name not in wanted)
    return {id(p): name for name, m in others for p in m._parameters.values() if p is not None}


def _called(model: nn.Module, layers: Mapping[str, nn.Module], inputs: Inputs) -> dict[str, Tensor]:
    """With what each layer is called, the largest of several calls."""
    found: dict[str, Tensor] = {}
    args, kwargs = call_arguments(inputs)
    with evaluating(model), torch.no_grad(), slow_attention(), _watching(layers, found):
        answers(model, args, kwargs)
    return found


@contextmanager
def _watching(layers: Mapping[str, nn.Module], found: dict[str, Tensor]) -> Iterator[None]:
    def note(name: str) -> Any:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            seen = next(tensors_of((args, kwargs)))
            if name not in found or seen.numel() > found[name].numel():
                found[name] = torch.empty(seen.shape, dtype=seen.dtype, device="meta")

        return before

    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.register_forward_pre_hook(note(name), with_kwargs=True).remove)
        yield


__all__ = ["Candidate", "candidates"]
