"""Adapters for recurrent layers and cells."""

from __future__ import annotations

import weakref
from typing import Any

from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from niwaki.surgery.modules.table import Change, adapter

GATES = {"LSTM": 4, "GRU": 3}


@adapter(nn.RNNBase)
def _layers(module: Any, change: Change) -> None:
    """One hidden size for all layers and directions; and the flat list of weights, which the forward pass reads, holds
    the new tensors."""
    into, again = change.after("weight_ih_l0"), change.after("weight_hh_l0")
    module.input_size = into[1]
    module.hidden_size = into[0] // GATES.get(module.mode, 1)
    if module.proj_size:
        module.proj_size = again[1]
    for k, name in enumerate(module._flat_weights_names):
        if (weight := module._parameters.get(name)) is not None:
            module._flat_weights[k], module._flat_weight_refs[k] = weight, weakref.ref(weight)
    if not any(isinstance(w, FakeTensor) for w in module._flat_weights):
        module.flatten_parameters()


@adapter(nn.RNNCellBase)
def _cell(module: Any, change: Change) -> None:
    module.input_size = change.after("weight_ih")[1]
    module.hidden_size = change.after("weight_hh")[1]
