"""Users' code run beside the watch: why a model that works by itself could not be watched."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.graph.chance import same_chance
from niwaki.graph.copies import apart, duplicate

CHECK = "Check that model(*inputs) works by itself."
"""What to do when nothing more is known."""


def advice(model: nn.Module, args: Any, kwargs: Any) -> str:
    """What to do about a model that could not be watched on these arguments. To find out, a copy of it is run,
    on copies of them: a forward pass may write to either."""
    if not _runs(model, args, kwargs, torch.enable_grad(), torch.no_grad()):
        return CHECK
    held = next(_uncopied(model), None)
    if held is not None:
        return (
            f"It works by itself, but a copy of it is watched, and its attribute {held} cannot be copied: give that "
            "class a __deepcopy__, or take it off the model for the trace."
        )
    if not _runs(model, args, kwargs, torch.inference_mode(), itself=False):
        return (
            "It works by itself, but is watched in inference mode, without gradients: forward must not use autograd "
            "(torch.autograd.grad, backward). Trace the part of it that does not."
        )
    return "It works by itself, but not on a copy of which every operation is watched."


def _runs(model: nn.Module, args: Any, kwargs: Any, *modes: AbstractContextManager[Any], itself: bool = True) -> bool:
    """Does it, in one of these modes? ``itself``: where it cannot be copied, the model is run; otherwise it is taken
    to run, for what the mode makes must not stay on it."""
    for mode in modes:
        with same_chance(), suppress(Exception):
            body = _copied(model)
            if body is None and not itself:
                return True
            positional, keywords = apart((args, kwargs))
            with mode:
                (model if body is None else body)(*positional, **keywords)
            return True
    return False


def _copied(model: nn.Module) -> nn.Module | None:
    try:
        return duplicate(model)
    except Exception:  # whatever its attributes raise
        return None


def _uncopied(model: nn.Module) -> Iterator[str]:
    """Attributes that ``copy.deepcopy`` refuses, with their class."""
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if key in ("_parameters", "_buffers", "_modules") or isinstance(value, Tensor):
                continue
            try:
                copy.deepcopy(value)
            except Exception:
                yield f"{'.'.join(filter(None, (name, key)))!r} ({type(value).__name__})"


__all__ = ["CHECK", "advice"]
