"""The front doors for pruning: in one call after training, or step by step in training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from torch import nn

from niwaki.calibration import Loss
from niwaki.errors import BadInput
from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs
from niwaki.methods import Method
from niwaki.ranks import Ranks
from niwaki.train.engine import Pruning
from niwaki.train.stepping import stand_in
from niwaki.train.view import Record
from niwaki.wrappers import unwrapped

Model = TypeVar("Model", bound=nn.Module)


def prune(
    model: Model,
    inputs: Inputs,
    method: Method,
    *,
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
    record: Record | None = None,
    ranks: Ranks | None = None,
) -> Model:
    """A pruned copy of ``model`` in one call, for methods that need no training steps.

    Args:
        model: left as it is; out of ``torch.compile`` and data parallelism it is unwrapped. inputs: as for
            :func:`niwaki.trace`.
        method: one that takes no training steps, such as ``nk.methods.magnitude(nk.Macs(0.5))``.
        data: an iterable of batches, for methods that look at data, such as ``nk.methods.ispasp``. A batch is a tensor
            (the model's one argument), a dict of keywords, or a tuple of as many positional arguments as ``inputs``
            has; one entry more, or a second one beside a dict, is labels, which no such method reads.
        loss: of (model, batch) to one number with a gradient, for methods that need one (``nk.methods.michel``).
        record: called with one dict per recorded figure, for instance what was chosen, and which groups were left alone
            and why.
        ranks: the processes that prune this model together, each with data of its own; those of the default process
            group if None (:class:`niwaki.Ranks`).

    Raises:
        BadInput: the method needs training steps; or data or a loss, and there is none; or a batch cannot be read.
    """
    if isinstance(method, Method) and method.takes_time:
        raise BadInput(
            f"{method.name} prunes while the model trains, which one call cannot do. Use nk.Pruning(model, optimizer, "
            "method, inputs) and call its step() in place of optimizer.step()."
        )
    small = duplicate(unwrapped(model, "the pruned copy"))
    run = Pruning(small, stand_in(small), method, inputs, record=record, data=data, loss=loss, ranks=ranks)
    run.run_at_once()
    return small


__all__ = ["Pruning", "prune"]
