"""The first front door: from a model and inputs to a proven coupling graph."""

from __future__ import annotations

from torch import nn

from niwaki.errors import BadInput
from niwaki.graph import Graph
from niwaki.graph.caches import forgetting
from niwaki.graph.observe import Inputs, observe
from niwaki.surgery.dryrun import prove as dry_run
from niwaki.surgery.modules import readable
from niwaki.wrappers import uncompiled, unwrapped


def trace(model: nn.Module, inputs: Inputs, *, prove: bool = True) -> Graph:
    """Run ``model`` once and learn which of its units can be removed, and what must go with each.

    Runs in eval mode on fake tensors (no memory, no arithmetic; on real ones if the forward reads values); the model
    is left as it was. Every group that is offered has been cut once on a weightless copy and traced again.

    Args:
        model: any module; out of ``torch.compile`` and data parallelism it is unwrapped. inputs: a tensor, a tuple
            (positional arguments) or a dict (keywords); small ones do.
        prove: False skips the dry run (about half of the time); groups are then not known to survive a cut.

    Raises:
        UntraceableModel: the model cannot be called with these inputs.
        NothingToPrune: no group at all; the message names the three biggest causes.
    """
    if not isinstance(model, nn.Module):
        raise BadInput(f"model must be a torch.nn.Module, not {type(model).__name__}")
    if not any(True for _ in model.parameters()):
        raise BadInput(f"{type(model).__name__} has no parameters: there is nothing to prune")
    model = unwrapped(model, "the graph")
    with forgetting(), readable(model), uncompiled(model):
        graph = Graph(observe(model, inputs, training=None, advise=True), model)
        if prove:
            graph = dry_run(graph, model, inputs)
    graph.require_groups()
    return graph
