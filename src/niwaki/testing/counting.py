"""Multiply-adds as torch's own counter counts them, and those of the kernels that it does not know."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from niwaki.graph.observe import Inputs, call_arguments, evaluating

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Counted:
    """Multiply-adds. ``operations``: those that torch's counter finds, by operation. ``unknown``: by kernel, those of
    what it counts as nothing.
    ``biases``: additions of biases that come with products, which some counters count too, and neither it nor we do."""

    operations: Mapping[str, int]
    unknown: Mapping[str, int]
    biases: int = 0

    @property
    def known(self) -> int:
        """All that torch's counter finds."""
        return sum(self.operations.values())

    @property
    def total(self) -> int:
        return self.known + sum(self.unknown.values())


def counted(model: nn.Module, inputs: Inputs) -> Counted:
    """What one forward pass of a model in eval mode really runs. On the meta device nothing is computed."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    args, kwargs = tree_map(lambda t: t.to(device) if isinstance(t, Tensor) else t, call_arguments(inputs))
    rest, counter = _Rest(), FlopCounterMode(display=False)
    counter.mod_tracker = _Nowhere()  # type: ignore[assignment]  # it hooks modules, which not all of them bear
    with evaluating(model), torch.no_grad(), rest, counter:
        model(*args, **kwargs)
    seen = counter.get_flop_counts().get("Global", {})
    operations = {packet.__name__: flops // 2 for packet, flops in seen.items()}
    return Counted(operations, dict(rest.found), rest.biases)


class _Nowhere:
    """Stands for torch's tracker of modules: everything happens in the whole model."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *trouble: object) -> None: ...


class _Rest(TorchDispatchMode):
    """Sees what the counter, entered after it, hands on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.biases = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        named = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | (kwargs or {})
        if name in KERNELS:
            self.found[name] += KERNELS[name](named)
        out = func(*args, **(kwargs or {}))
        if name == "addmm" or (name == "convolution" and named.get("bias") is not None):
            self.biases += out.numel()
        return out


def _attention(a: Arguments) -> int:
    """Scores, and their sums of values: (batch, heads, queries, dim) with as many keys."""
    q, k, v = a["query"], a["key"], a["value"]
    return math.prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])


def _grouped(a: Arguments) -> int:
    """Rows (S, K), each with its expert's matrix of (E, K, N): the first two arguments, whatever they are called."""
    rows, matrices, *_ = a.values()
    return int(rows.numel() * matrices.shape[-1])


def _recurrent(a: Arguments) -> int:
    """One direction of one layer: all gates from the inputs, and from the state, at each step."""
    rows = math.prod(a["input"].shape[:-1])
    return int(rows * (a["weight0"].numel() + a["weight1"].numel()))


def _matrix_vector(a: Arguments) -> int:
    return int(a["self"].numel())


def _heads(a: Arguments) -> int:
    """``nn.MultiheadAttention`` in one: projections, attention, projection."""
    q, k, v = a["query"], a["key"], a["value"]
    wide = a["embed_dim"]
    rows = sum(math.prod(t.shape[:-1]) for t in (q, k, v, q))
    return rows * wide**2 + 2 * math.prod(q.shape[:-1]) * k.shape[-2] * wide


def _encoder_layer(a: Arguments) -> int:
    """``nn.TransformerEncoderLayer`` in one: self-attention, and the two linear layers."""
    x = a["src"]
    own = _heads({"query": x, "key": x, "value": x, "embed_dim": a["embed_dim"]})
    return own + math.prod(x.shape[:-1]) * (a["ffn_weight_1"].numel() + a["ffn_weight_2"].numel())


KERNELS: dict[str, Callable[[Arguments], int]] = {
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_fused_attention_overrideable": _attention,
    "_grouped_mm": _grouped,
    "grouped_mm_fallback": _grouped,
    "mkldnn_rnn_layer": _recurrent,
    "mv": _matrix_vector,
    "dot": _matrix_vector,
    "vdot": _matrix_vector,
    "_native_multi_head_attention": _heads,
    "_transformer_encoder_layer_fwd": _encoder_layer,
}
"""Kernels that sum products and that ``torch.utils.flop_counter`` has no formula for, with one."""


__all__ = ["KERNELS", "Counted", "counted"]
