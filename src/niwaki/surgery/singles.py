"""Single weights: which a model has, which go, and zeros in their place. They make no tensor smaller."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from niwaki.errors import BadInput, NothingToPrune
from niwaki.scores import Score
from niwaki.surgery.wrappers import bare
from niwaki.targets import Ratio, Target, count


@dataclass(frozen=True)
class _Named:
    """What the patterns of a target are held against."""

    name: str


def single_weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters of which single weights may go, by name: of two dimensions or more, and no embedding.

    Raises:
        NothingToPrune: there are none.
    """
    model = bare(model)
    tables = {id(m.weight) for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
    found: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.dim() > 1 and id(p) not in tables}
    if not found:
        raise NothingToPrune(
            f"{type(model).__name__} has no single weights that can go: no parameter of two dimensions or more but "
            "tables of embeddings"
        )
    return found


def check_own(model: nn.Module, names: Iterable[str]) -> None:
    """Raise :class:`BadInput` if a tensor is only what a weight is computed from (by weight norm, say): its single
    entries are not the weight's, and a row of zeros is divided by its length."""
    made = _parametrized(bare(model))
    for name in names:
        if name in made:
            raise BadInput(
                f"{name!r} is no weight but what one is computed from, and single weights go only from weights. Make "
                "it one (nn.utils.parametrize.remove_parametrizations, or remove_weight_norm), or skip it by name."
            )


def _parametrized(model: nn.Module) -> set[str]:
    """Names of the parameters from which weights are computed, by a parametrization or by a hook."""
    found: list[str] = []
    for path, module in model.named_modules():
        head = f"{path}." if path else ""
        if isinstance(module, ParametrizationList):
            found += [head + name for name, _ in module.named_parameters(recurse=False)]
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, (WeightNorm, SpectralNorm)):
                found += [f"{head}{hook.name}_{end}" for end in ("g", "v", "orig")]
    return set(found)


def worth_each(score: Score, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What every single weight is worth, in the shape of its tensor.

    Raises:
        BadInput: the score can tell of whole units only.
    """
    each = getattr(score, "each", None)
    if each is None:
        raise BadInput(f"{type(score).__name__} scores whole units and not single weights; nk.scores.L1 does both")
    return {name: each(name, w.detach().float()) for name, w in weights.items()}


def offered(weights: Iterable[str], target: Target) -> list[str]:
    """Names of the tensors of which the target may take weights.

    Raises:
        BadInput: a pattern matches none.
    """
    named: list[Any] = [_Named(name) for name in weights]
    for pattern in target.removed if isinstance(target, Ratio) and isinstance(target.removed, Mapping) else ():
        Ratio(0.5, only=(pattern,)).picks(named)
    return [each.name for each in target.offers(named)]


def select_each(worth: Mapping[str, Tensor], target: Target) -> dict[str, Tensor]:
    """The weights that go: for every tensor that is offered a bool tensor of its shape, true where a weight goes.

    The least go first, and of equals the one that comes first. A tensor keeps at least one weight. With the global
    scope all weights compete by their plain worth (and not by its share of the tensor's mean, as units do).
    """
    assert isinstance(target, Ratio)
    names = offered(worth, target)
    if target.scope == "global" and names:
        return _globally({name: worth[name] for name in names}, target)
    return {name: _least(worth[name], count(target.share_of(name), worth[name].numel())) for name in names}


def _least(worth: Tensor, count: int) -> Tensor:
    order = torch.sort(worth.flatten(), stable=True).indices
    gone = torch.zeros(worth.numel(), dtype=torch.bool, device=worth.device)
    gone[order[:count]] = True
    return gone.reshape(worth.shape)


def _globally(worth: Mapping[str, Tensor], target: Ratio) -> dict[str, Tensor]:
    assert not isinstance(target.removed, Mapping)
    flat = []
    for each in worth.values():
        values = each.flatten().clone()
        values[values.argmax()] = math.inf
        flat.append(values)
    total = sum(v.numel() for v in flat)
    gone = _least(torch.cat(flat), min(count(target.removed, total), total - len(flat)))
    parts = gone.split([v.numel() for v in flat])
    return {name: part.reshape(worth[name].shape) for name, part in zip(worth, parts, strict=True)}


@torch.no_grad()
def zero_(weights: Mapping[str, Tensor], gone: Mapping[str, Tensor]) -> None:
    """Put zeros where weights went."""
    for name, mask in gone.items():
        weights[name].masked_fill_(mask.to(weights[name].device), 0.0)
