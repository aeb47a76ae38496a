"""Counts that do not depend on the machine: multiply-adds, parameters, bytes."""

from __future__ import annotations

from typing import Any

from torch import nn

from niwaki.graph.observe import Inputs, observe, tensors_of
from niwaki.surgery.store import own_tensors


def macs(model: nn.Module, inputs: Inputs) -> int:
    """Multiply-adds of one forward pass on ``inputs`` (batch included): convolutions, linear layers, matrix products
    and attention. Normalisation, activation and pooling are not counted, as is the custom."""
    ledger = observe(model, inputs).ledger
    everything = [cost.scale * _product([ids.size for ids in cost.axes]) for cost in ledger.costs]
    return sum(everything)


def params(model: nn.Module) -> int:
    """Number of parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def nonzero(model: nn.Module) -> int:
    """Number of parameters that are not zero, shared ones once."""
    return sum(int((p != 0).sum()) for p in model.parameters())


def file_bytes(model: nn.Module) -> int:
    """Bytes of all tensors that a saved file holds (parameters and saved buffers, shared ones once)."""
    return sum(t.numel() * t.element_size() for t in own_tensors(model).values())


def memory(model: nn.Module) -> int:
    """Bytes of parameters and all buffers as they lie in memory."""
    tensors = {id(t): t for t in [*model.parameters(), *model.buffers()]}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def batch_size(inputs: Any) -> int:
    """Length of dimension 0 of the first tensor in inputs or in a batch that has several dimensions, as a vector may be
    of places; or else of the first that has one; 1 if there is none."""
    tensors = sorted((t for t in tensors_of(inputs) if t.dim() > 0), key=lambda t: t.dim() == 1)
    return int(tensors[0].shape[0]) if tensors else 1


def _product(sizes: list[int]) -> int:
    total = 1
    for n in sizes:
        total *= n
    return total
