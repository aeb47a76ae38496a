"""Build a model from a config as stock code would, without weights: only to see of what sizes it would be."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from niwaki.disk.hollow import Hollow


def is_configured(model: nn.Module) -> bool:
    """Does the model carry a config from which models are built, and that is saved with it?"""
    config = getattr(model, "config", None)
    return hasattr(model, "save_pretrained") and hasattr(config, "to_dict") and hasattr(type(config), "from_dict")


def rebuilt(kind: type[nn.Module], config: Any) -> nn.Module:
    """A ``kind`` of this config, as it would come out of a file: matrices on the meta device, small things real.

    Raises whatever the class does not like about the config.
    """
    with _aside(), Hollow():
        return kind(type(config).from_dict(config.to_dict()))


@contextmanager
def _aside() -> Iterator[None]:
    """Without a trace: the random numbers go on as if nothing had been drawn, and what is said about configs that are
    only tried is not heard."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            stack.enter_context(torch.random.fork_rng(devices=[]))
            yield
    finally:
        logging.disable(before)


__all__ = ["is_configured", "rebuilt"]
