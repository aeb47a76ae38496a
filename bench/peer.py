"""Torch-Pruning 1.6.1 with its documented settings, on the same networks.

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

import copy
import importlib.metadata
import statistics
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from forked import Memory, told
from masked import TOLERANCE, CannotSay, Removed, aims, difference, removed_between, tag
from torch import Tensor, nn

from niwaki.graph import Graph
from niwaki.graph.observe import call_arguments
from niwaki.testing.families import Family

NAME, VERSION = "torch-pruning", "1.6.1"
EQUAL, WRONG, CRASH, NOTHING, UNKNOWN = "equal", "wrong", "crash", "no-op", "not judged"
WORST_FIRST = (CRASH, WRONG, UNKNOWN, EQUAL, NOTHING)
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


def require() -> None:
    """Say how to get it, if it is not there."""
    try:
        found = importlib.metadata.version(NAME)
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit(
            f"the comparison needs {NAME}: pip install --no-deps {NAME}=={VERSION}; or --no-peer"
        ) from None
    if found != VERSION:
        raise SystemExit(f"the comparison is written for {NAME} {VERSION}, found {found}")


def measure(family: Family, ratios: tuple[float, ...], graph: Graph | None) -> Iterator[dict[str, Any]]:
    """What it does with a family: cost of its trace, then a cut at each ratio, judged."""
    warnings.simplefilter("ignore")
    memory = Memory()
    seconds = [_traced(family) for _ in range(1)]
    peak = memory.growth()
    seconds += [_traced(family) for _ in range(2)]
    yield {"trace_s": statistics.median(seconds), "memory_mib": peak, "groups": _group_count(family), "cuts": []}
    cuts = []
    for ratio in ratios:
        cuts.append({"ratio": ratio, **_cut(family, ratio, graph)})
        yield {"cuts": cuts}


def _traced(family: Family) -> float:
    model, inputs = family.build(), family.inputs()
    start = time.perf_counter()
    pruner(model, inputs, 0.3)
    return time.perf_counter() - start


def _group_count(family: Family) -> int:
    made = pruner(family.build(), family.inputs(), 0.3)
    groups = made.DG.get_all_groups(ignored_layers=made.ignored_layers, root_module_types=made.root_module_types)
    return sum(1 for _ in groups)


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


def _attentions(model: nn.Module) -> Iterator[tuple[nn.Module, list[nn.Linear]]]:
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


def _cut(family: Family, ratio: float, graph: Graph | None) -> dict[str, Any]:
    """Cut at a ratio, and what became of it."""
    dense, small, inputs = family.build(), family.build(), family.inputs()
    try:
        tag(small)
        made = pruner(small, inputs, ratio)
        sizes = _sizes(small)
        for group in made.step(interactive=True):
            group.prune()
        _follow(small, made.num_heads, sizes)
    except CannotSay as trouble:
        return {"verdict": UNKNOWN, "detail": str(trouble)}
    except Exception as trouble:
        return {"verdict": CRASH, "detail": f"while it cuts: {told(trouble)}"}
    if _shapes(dense) == _shapes(small):
        return {"verdict": NOTHING, "detail": "no tensor became smaller"}
    try:
        removed = removed_between(dense, small)
    except CannotSay as trouble:
        return {"verdict": _runs(small, inputs), "detail": f"the oracle cannot say: {trouble}"}
    return {**_judge(dense, small, removed, inputs, graph), **_reach(dense, removed, graph)}


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(t.shape) for name, t in model.state_dict().items()}


def _runs(small: nn.Module, inputs: Any) -> str:
    args, kwargs = call_arguments(inputs)
    try:
        with torch.no_grad():
            small(*args, **kwargs)
    except Exception:
        return CRASH
    return UNKNOWN


def _judge(dense: nn.Module, small: nn.Module, removed: Removed, inputs: Any, graph: Graph | None) -> dict[str, Any]:
    """The better verdict of two: with the attention modules' numbers set, and with the configuration's too."""
    first = _compare(dense, small, removed, inputs, graph)
    if first["verdict"] == EQUAL or not hasattr(small, "config"):
        return first
    second = copy.deepcopy(small)
    _configure(second)
    then = _compare(dense, second, removed, inputs, graph)
    return max(first, then, key=lambda found: WORST_FIRST.index(found["verdict"]))


def _compare(dense: nn.Module, small: nn.Module, removed: Removed, inputs: Any, graph: Graph | None) -> dict[str, Any]:
    try:
        worst = difference(dense, small, removed, inputs, graph)
    except CannotSay as trouble:
        return {"verdict": UNKNOWN, "detail": str(trouble)}
    except Exception as trouble:
        return {"verdict": CRASH, "detail": f"in the forward pass after the cut: {told(trouble)}"}
    if worst == float("inf"):
        return {"verdict": WRONG, "detail": "other shapes or values that are not finite came out"}
    return {"verdict": EQUAL if worst <= TOLERANCE else WRONG, "worst": worst}


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


def _configure(model: Any) -> None:
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


def _reach(dense: nn.Module, removed: Removed, graph: Graph | None) -> dict[str, Any]:
    """The share of parameters in tensors that it made smaller, and of multiply-adds by them."""
    total = sum(p.numel() for p in dense.parameters())
    names = {axis.name for axis in removed}
    reached = sum(p.numel() for n, p in dense.named_parameters() if n in names)
    found: dict[str, Any] = {"reach_params": reached / total}
    if graph is not None:
        gone = graph.atoms_gone(removed)
        macs = [(cost.scale * _product(cost.axes), any(gone[ids].any() for ids in cost.axes)) for cost in _costs(graph)]
        found["reach_macs"] = sum(m for m, hit in macs if hit) / (sum(m for m, _ in macs) or 1)
    return found


def _costs(graph: Graph) -> Any:
    return graph.ledger.costs


def _product(axes: Any) -> int:
    count = 1
    for ids in axes:
        count *= ids.size
    return count
