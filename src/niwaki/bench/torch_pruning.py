"""Torch-Pruning 1.6.1 with its documented settings, as a rival on networks that are ours to build.

What it is given, as its examples do (examples/transformers, examples/LLMs, examples/torchvision_models):

- ``BasePruner`` with ``MagnitudeImportance(p=2, group_reduction="mean")``, the ratio as ``pruning_ratio`` and as
  ``head_pruning_ratio``, ``global_pruning=False``, one step; its own defaults for all else;
- ``num_heads`` for every linear layer that makes queries, keys or values, alone or fused, read from the attention
  module; ``prune_num_heads=True``, ``prune_head_dims=False`` (as its example for language models advises);
- ``out_channel_groups=2`` for ``gate_up_proj``; ``SwinPatchMerging`` pruned by a pruner like that of its Swin example;
- ``ignored_layers``: every layer whose result is handed out, and every layer called ``lm_head``, ``classifier``, ``fc``
  or ``score``;
- ``output_transform``: the sum of the logits, or of all floating-point outputs where there are none;
- parameters of no known layer: its default (their last dimension), for which its examples leave them too;
- afterwards the attention modules' numbers are set to what was left, as its examples do; and where the model does not
  answer as it should with that, its configuration's as well (whichever is better counts).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.graph.observe import call_arguments, tensors_of

NAME, VERSION = "torch-pruning", "1.6.1"
TRIPLES = (
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("query_proj", "key_proj", "value_proj"),
    ("q", "k", "v"),
)
FUSED = ("query_key_value", "qkv_proj", "Wqkv", "qkv", "c_attn")
HEADS = ("num_attention_heads", "num_heads", "n_heads", "heads")
HEAD_SIZES = ("head_dim", "attention_head_size", "head_size", "key_value_proj_dim")
WIDTHS = ("all_head_size", "inner_dim", "embed_dim", "hidden_size", "split_size", "dim")
LAST = ("lm_head", "classifier", "fc", "score")


def prune(model: nn.Module, inputs: Any, ratio: float) -> None:
    """Cut ``model`` in place, and set its attention modules' numbers."""
    made = pruner(model, inputs, ratio)
    sizes = _sizes(model)
    for group in made.step(interactive=True):
        group.prune()
    _follow(model, made.num_heads, sizes)


def aims(output: Any) -> list[Tensor]:
    """The logits of an output, else all floating-point tensors in it."""
    logits = getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return [logits]
    return [t for t in tensors_of(output, caches=False) if t.is_floating_point()]


def pruner(model: nn.Module, inputs: Any, ratio: float) -> Any:
    """Its pruner, set up as the notes above say."""
    import torch_pruning as tp

    args, kwargs = call_arguments(inputs)
    model.requires_grad_(True)
    customized, roots = _swin(model)
    return tp.pruner.BasePruner(
        model,
        kwargs or list(args),
        importance=tp.importance.MagnitudeImportance(p=2, group_reduction="mean"),
        global_pruning=False,
        pruning_ratio=ratio,
        head_pruning_ratio=ratio,
        ignored_layers=_last_layers(model, inputs),
        num_heads=_heads(model),
        in_channel_groups={},
        out_channel_groups={m: 2 for n, m in model.named_modules() if n.endswith("gate_up_proj")},
        prune_num_heads=True,
        prune_head_dims=False,
        customized_pruners=customized,
        root_module_types=roots,
        output_transform=_total,
    )


def _total(output: Any) -> Tensor:
    return torch.stack([t.sum() for t in aims(output) if t.requires_grad]).sum()


def _last_layers(model: nn.Module, inputs: Any) -> list[nn.Module]:
    """Layers whose result is the answer, by identity or by name."""
    made: dict[int, nn.Module] = {}
    kept: list[Any] = []  # so that no number of an object is given twice

    def note(module: nn.Module, _: Any, output: Any) -> None:
        made[id(output)] = module
        kept.append(output)

    hooks = [m.register_forward_hook(note) for m in model.modules() if not list(m.children())]
    args, kwargs = call_arguments(inputs)
    with torch.no_grad():
        outputs = aims(model(*args, **kwargs))
    for hook in hooks:
        hook.remove()
    named = [m for n, m in model.named_modules() if n.rpartition(".")[2] in LAST]
    return list({id(m): m for m in [*named, *(made[id(t)] for t in outputs if id(t) in made)]}.values())


def _attentions(model: nn.Module) -> Iterator[tuple[Any, list[nn.Linear]]]:
    """Attention modules with their linear layers for queries, keys and values, or the one for all three."""
    for module in model.modules():
        for names in (*TRIPLES, *((name,) for name in FUSED)):
            layers = [getattr(module, name, None) for name in names]
            if all(isinstance(layer, nn.Linear) for layer in layers):
                yield module, layers  # type: ignore[misc]
                break


def _heads(model: nn.Module) -> dict[nn.Module, int]:
    """The heads of each of those layers: as the module says, or as many as its head size fits."""
    found: dict[nn.Module, int] = {}
    for module, layers in _attentions(model):
        count, size = _first(module, HEADS), _first(module, HEAD_SIZES)
        for layer in layers:
            if len(layers) == 3 and size:
                found[layer] = layer.out_features // size
            elif count or size:
                found[layer] = count or layer.out_features // (3 * (size or 1))
    return found


def _first(module: nn.Module, names: tuple[str, ...]) -> int | None:
    return next((v for n in names if type(v := getattr(module, n, None)) is int), None)


def _swin(model: nn.Module) -> tuple[dict[type, Any], list[type]]:
    """Its Swin example: patches are merged by a pruner of their own, and layer norms are roots too."""
    import torch_pruning as tp

    kinds = {type(m) for m in model.modules() if type(m).__name__ in ("SwinPatchMerging", "Swinv2PatchMerging")}
    roots: list[type] = [nn.modules.conv._ConvNd, nn.Linear, nn.LSTM]
    if not kinds:
        return {}, roots

    class Merging(tp.BasePruningFunc):
        def prune_out_channels(self, layer: Any, idxs: list[int]) -> Any:
            tp.prune_linear_out_channels(layer.reduction, idxs)
            return layer

        def prune_in_channels(self, layer: Any, idxs: list[int]) -> Any:
            four = [i + k * layer.dim for k in range(4) for i in idxs]
            tp.prune_linear_in_channels(layer.reduction, four)
            tp.prune_layernorm_out_channels(layer.norm, four)
            return layer

        def get_out_channels(self, layer: Any) -> int:
            return layer.reduction.out_features

        def get_in_channels(self, layer: Any) -> int:
            return layer.dim

    return {kind: Merging() for kind in kinds}, [*roots, nn.LayerNorm, *kinds]


def _sizes(model: nn.Module) -> list[int]:
    return [layers[0].out_features for _, layers in _attentions(model)]


def _follow(model: nn.Module, heads: dict[nn.Module, int], sizes: list[int]) -> None:
    """Set the attention modules' numbers to what is left, as its examples do."""
    for (module, layers), before in zip(_attentions(model), sizes, strict=True):
        first = layers[0]
        if first not in heads or first.out_features == before:
            continue
        width = first.out_features // (1 if len(layers) == 3 else 3)
        for name in HEADS:
            if type(getattr(module, name, None)) is int:
                setattr(module, name, heads[first])
        for name in WIDTHS:
            if type(getattr(module, name, None)) is int:
                setattr(module, name, width)
        if type(getattr(module, "num_key_value_groups", None)) is int and len(layers) == 3:
            module.num_key_value_groups = max(1, heads[first] // max(1, heads[layers[1]]))


def configure(model: Any) -> None:
    """Its example for language models sets these too."""
    last = next(
        (m for n, m in model.named_modules() if n.rpartition(".")[2] in LAST and isinstance(m, nn.Linear)), None
    )
    if last is not None and hasattr(model.config, "hidden_size"):
        model.config.hidden_size = last.in_features
    for module, _ in _attentions(model):
        count = _first(module, HEADS)
        if count and hasattr(model.config, "num_attention_heads"):
            model.config.num_attention_heads = count


__all__ = ["NAME", "VERSION", "aims", "configure", "prune", "pruner"]
