"""The network that a plan leaves, without its weights: shapes alone, to be run on tensors without memory."""

from __future__ import annotations

from torch import nn

from niwaki.graph.observe import skeleton
from niwaki.surgery.beside import check_beside
from niwaki.surgery.modules import follow
from niwaki.surgery.numbers import set_numbers
from niwaki.units import Plan


def weightless(model: nn.Module, plan: Plan) -> nn.Module:
    """A copy of ``model`` as ``plan`` leaves it, of fake tensors; the model itself is left alone.

    Raises:
        CannotFollow: a function on a module holds what shrinks, where a real cut could not exchange it.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    lost = {axis.name for axis in plan.removed}
    check_beside(model, {id(t): n for n, t in [*model.named_parameters(), *model.named_buffers()] if n in lost})
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    small = skeleton(model, fake, {axis.name: plan.shape(axis.name) for axis in plan.removed})
    follow(small, plan.removed, plan.tensors)
    set_numbers(small, plan.numbers)
    return small


__all__ = ["weightless"]
