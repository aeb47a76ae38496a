"""A net in one line, and short questions to its graph: axes are written ``"a.weight:0"``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.graph import Graph
from niwaki.graph.observe import observe
from niwaki.units import Axis, Group


class Net(nn.Module):
    """Modules by name, and a forward that is given as a function of the net and its inputs."""

    def __init__(self, forward: Callable[..., Any], **modules: nn.Module | nn.Parameter | Tensor) -> None:
        super().__init__()
        self.body = forward
        for name, module in modules.items():
            if isinstance(module, Tensor) and not isinstance(module, nn.Parameter):
                self.register_buffer(name, module)
            else:
                setattr(self, name, module)

    def forward(self, *args: Any) -> Any:
        return self.body(self, *args)


def graph_of(model: nn.Module, inputs: Any) -> Graph:
    """The graph as the rules alone make it: without a dry run, and also where nothing can be pruned."""
    return Graph(observe(model, inputs), model)


def axis(text: str) -> Axis:
    name, _, dim = text.rpartition(":")
    return Axis(name, int(dim))


def status(graph: Graph, text: str) -> str:
    return graph.explain(*axis(text)).status


def group_with(graph: Graph, *texts: str) -> Group:
    """The one group that lives on all of these axes."""
    found = [g for g in graph.groups if all(axis(t) in g.entries for t in texts)]
    assert len(found) == 1, (texts, [g.name for g in found])
    return found[0]


def held(group: Group, text: str) -> list[list[int]]:
    """For every unit, the positions that it holds on an axis."""
    entries = group.entries[axis(text)]
    return [entries.positions[entries.units == unit].tolist() for unit in range(len(group))]


def balances(group: Group) -> list[tuple[list[int], list[int]]]:
    """The balances of a group: the part that each unit draws from, and the weight that it has there."""
    return [(p.of.tolist(), p.weight.tolist()) for p in group.parts]


def tokens() -> Tensor:
    return torch.ones(2, 5, 4)


def image() -> Tensor:
    return torch.ones(2, 3, 6, 6)
