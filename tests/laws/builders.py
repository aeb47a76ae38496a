"""Builders of whole models that a fresh process can find by ``module:name``: every specimen, and two saboteurs."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from torch import Tensor, nn

from niwaki.disk import Checkpoint
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
        pytest.MonkeyPatch().setattr(store, "_fill", lambda model, tensors: None)
    return specimen("vgg_pooled").build()


def load_fills_the_wrong_tensors() -> nn.Module:
    """In the fresh process, tensors of equal shape change places."""
    if in_the_fresh_process():
        pytest.MonkeyPatch().setattr(store, "Checkpoint", Swapped)
    return specimen("vgg_pooled").build()


class Swapped(Checkpoint):
    """Of tensors of one shape each gives the next one's values."""

    def __getitem__(self, name: str) -> Tensor:
        shape = self.entries[name].shape
        alike = [other for other, entry in self.entries.items() if entry.shape == shape]
        return super().__getitem__(alike[(alike.index(name) + 1) % len(alike)])
