"""Models inside models: what ``torch.compile`` and data parallelism wrap around a network.

A wrapper adds a prefix to every name, keeps its own copies or reducers of the old parameters, and computes nothing of
its own. So the network inside is what is traced, planned, cut and saved, and the user wraps the result again.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import nn

from niwaki.errors import BadInput

Model = TypeVar("Model", bound=nn.Module)
logger = logging.getLogger("niwaki")


def bare(model: Model) -> Model:
    """The network inside its wrappers, the model itself if there are none."""
    if not isinstance(model, nn.Module):
        raise BadInput(f"expected a model (a torch.nn.Module), found {type(model).__name__}")
    inner: nn.Module = model
    while (inside := _inside(inner)) is not None:
        inner = inside
    return cast(Model, inner)


def unwrapped(model: Model, what: str) -> Model:
    """As :func:`bare`, with a note to the log (``niwaki``) that ``what`` is of the inner model."""
    inner = bare(model)
    if inner is not model:
        logger.warning(
            "%s is unwrapped: %s is of the %s inside. Wrap it again where you need the wrapper.",
            type(model).__name__,
            what,
            type(inner).__name__,
        )
    return inner


def _inside(module: nn.Module) -> nn.Module | None:
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return cast(nn.Module, module.module)
    return module._modules.get("_orig_mod") if _compiled(module) else None


def _compiled(module: nn.Module) -> bool:
    """Is it what ``torch.compile(module)`` returns? (By name: the class lives in a package that is slow to import.)"""
    return type(module).__name__ == "OptimizedModule" and "_orig_mod" in module._modules


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Inside, what is compiled in ``model`` (a part of it, or all by ``model.compile()``) runs as it was written: a
    compiled call would hide its operations and keep what it made of them."""
    with ExitStack() as stack:
        if any(_compiled(m) or getattr(m, "_compiled_call_impl", None) is not None for m in model.modules()):
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message=".*global hooks on modules")
            compiler: Any = torch.compiler
            stack.enter_context(compiler.set_stance("force_eager"))
        yield


__all__ = ["bare", "uncompiled", "unwrapped"]
