"""Which parameters of a model are weights, matrices that inputs are multiplied with; and where those inputs lie.

The weights of linear layers, convolutions and recurrent layers are such, whatever their shape. So is any other
parameter with two dimensions longer than 1 (a matrix in a module of your own, those of attention, experts in one
tensor), unless

- a norm holds it: a module whose class is called so (``LlamaRMSNorm``, ``BatchNorm2d``);
- its first dimension is 1: it is added to every sample (positions, a class token);
- its own name says that it is a table or a bias: one of its words, between ``_``, is of ``NAMES``
  (``relative_position_bias_table``, ``rel_pos_h``).

A parameter of three dimensions in a module of experts (its class is called so, or it has as many ``num_experts``) is a
stack: dimension 0 numbers matrices, each with rows and columns of its own.

The weights of embeddings are none, nor what shares their tensor. A matrix that is left out by its name alone counts
under another one; what counts and should not is left out by a target's ``skip``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrize import ParametrizationList

LAYERS = (nn.Linear, nn.Bilinear, _ConvNd, nn.RNNBase, nn.RNNCellBase, ParametrizationList)
NAMES = frozenset(
    ("bias", "embed", "embedding", "embeddings", "pos", "position", "positions", "table", "token", "tokens")
)
"""Words in the names of parameters that are looked up or added, and multiply nothing."""


@dataclass(frozen=True)
class Inputs:
    """Where a weight has its inputs: along ``dim``, in so many ``parts`` of which no two meet in one output.

    ``stacked``: dimension 0 numbers matrices. ``known``: could that be told? Of a tensor of three dimensions in a
    module of somebody's own it cannot.
    """

    dim: int = 1
    parts: int = 1
    stacked: bool = False
    known: bool = True


class Weights(dict[str, Tensor]):
    """Weights by name, or what each of their entries is worth. ``inputs``: where they have their inputs, by name."""

    def __init__(self, found: Mapping[str, Tensor], inputs: Mapping[str, Inputs]) -> None:
        super().__init__(found)
        self.inputs = inputs


def multiplied(model: nn.Module) -> Weights:
    """The weights, in the model's order; there may be none."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
    held = {
        name: (module, p)
        for name, module, own, p in _held(model)
        if id(p) not in tables and _multiplies(module, own, p)
    }
    found = {name: p for name, (_, p) in held.items()}
    return Weights(found, {name: _inputs(module, p) for name, (module, p) in held.items()})


def matrices(weights: Mapping[str, Tensor], inputs: Mapping[str, Inputs]) -> Iterator[tuple[str, Tensor]]:
    """The weights one by one, of stacks each matrix: ``experts.down_proj[3]``."""
    for name, weight in weights.items():
        if inputs.get(name, Inputs()).stacked:
            yield from ((f"{name}[{k}]", each) for k, each in enumerate(weight))
        else:
            yield name, weight


def inputs_of(weights: Mapping[str, Tensor], name: str) -> Inputs:
    """Where a weight has its inputs: along dimension 1 where nobody says otherwise."""
    return weights.inputs.get(name, Inputs()) if isinstance(weights, Weights) else Inputs()


def _inputs(module: nn.Module, p: Tensor) -> Inputs:
    if isinstance(module, _ConvTransposeNd):
        return Inputs(0, module.groups)
    if _is_conv1d(module):
        return Inputs(0)
    if isinstance(module, LAYERS) or p.dim() < 3:
        return Inputs()
    if not _is_stack(module, p):
        return Inputs(known=False)
    transposed = getattr(module, "is_transposed", None)  # as transformers says how its experts lie
    return Inputs(1 if transposed else 2, stacked=True, known=isinstance(transposed, bool))


def _is_stack(module: nn.Module, p: Tensor) -> bool:
    many = [getattr(module, name, None) for name in ("num_experts", "num_local_experts")]
    return p.dim() == 3 and ("Expert" in type(module).__name__ or p.shape[0] in many)


def _held(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """Name, module, name inside the module, parameter: each parameter once, under its first name."""
    seen: set[int] = set()
    for path, module in model.named_modules():
        for own, p in module.named_parameters(recurse=False):
            if id(p) not in seen:
                seen.add(id(p))
                yield f"{path}.{own}" if path else own, module, own, p


def _multiplies(module: nn.Module, own: str, p: Tensor) -> bool:
    if isinstance(module, LAYERS) or _is_conv1d(module):
        return p.dim() > 1
    matrix = sum(n > 1 for n in p.shape) > 1 and p.shape[0] > 1
    return matrix and not _is_norm(module) and NAMES.isdisjoint(own.lower().split("_"))


def _is_norm(module: nn.Module) -> bool:
    return re.search(r"Norm(\dd)?$", type(module).__name__) is not None


def _is_conv1d(module: nn.Module) -> bool:
    """Is it the Conv1D of transformers? Also where FSDP has made a class of its own of it."""
    return any(f"{k.__module__}.{k.__qualname__}" == "transformers.pytorch_utils.Conv1D" for k in type(module).__mro__)


__all__ = ["LAYERS", "NAMES", "Inputs", "Weights", "inputs_of", "matrices", "multiplied"]
