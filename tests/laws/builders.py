"""Builders of whole models that a fresh process can find by ``module:name``: every specimen, and two saboteurs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from niwaki.surgery import store
from niwaki.testing.zoo import specimen


def __getattr__(name: str) -> Callable[[], nn.Module]:
    """The builder of the specimen called ``name``."""
    try:
        return specimen(name).build
    except KeyError:
        raise AttributeError(name) from None


def in_the_fresh_process() -> bool:
    """Are we on the loading side of the round trip?"""
    spec = sys.modules["__main__"].__spec__
    return spec is not None and spec.name == "niwaki.testing.laws.reload"


def load_forgets_to_fill() -> nn.Module:
    """In the fresh process, loading leaves the weights that the model came with."""
    if in_the_fresh_process():
        pytest.MonkeyPatch().setattr(store, "_fill", lambda model, tensors, path: None)
    return specimen("vgg_pooled").build()


def load_fills_the_wrong_tensors() -> nn.Module:
    """In the fresh process, tensors of equal shape change places."""
    if in_the_fresh_process():
        pytest.MonkeyPatch().setattr(store, "read_tensors", _swapped)
    return specimen("vgg_pooled").build()


def _swapped(path: Path, read: Callable[[Path], dict[str, Tensor]] = store.read_tensors) -> dict[str, Tensor]:
    tensors = read(path)
    shapes = {tuple(t.shape) for t in tensors.values()}
    for shape in shapes:
        alike = [name for name, t in tensors.items() if tuple(t.shape) == shape]
        values = [tensors[name] for name in alike]
        tensors.update(zip(alike, values[1:] + values[:1], strict=True))
    assert all(isinstance(t, torch.Tensor) for t in tensors.values())
    return tensors
