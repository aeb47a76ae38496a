"""What a model answers, in full: tensors and whatever else is beside them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from niwaki.graph.observe import call_arguments, evaluating


def answer(model: nn.Module, inputs: Any) -> list[Any]:
    args, kwargs = call_arguments(inputs)
    with evaluating(model), torch.no_grad():
        torch.manual_seed(0)
        return tree_leaves(model(*args, **kwargs))
