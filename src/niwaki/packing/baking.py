"""Masks that are computed anew at every call, made permanent."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import prune

from niwaki.surgery.cut import plan_of


def bake(model: nn.Module) -> None:
    """Make masks of ``torch.nn.utils.prune`` permanent, in place: weights that are weights again."""
    if plan_of(model) is not None:  # it knows the tensors by the names that they have
        return
    for module in list(model.modules()):
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, hook._tensor_name)


__all__ = ["bake"]
