"""Single weights: which a model has, which go, and zeros in their place. They make no tensor smaller."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.scores import Score
from niwaki.targets import Ratio, Target


@dataclass(frozen=True)
class _Named:
    """What the patterns of a target are held against."""

    name: str


def single_weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters of which single weights may go, by name: of two dimensions or more, and no embedding."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
    return {name: p for name, p in model.named_parameters() if p.dim() > 1 and id(p) not in tables}


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
    """Names of the tensors of which the target may take weights."""
    return [named.name for named in target.offers([_Named(name) for name in weights])]  # type: ignore[misc]


def select_each(worth: Mapping[str, Tensor], target: Target) -> dict[str, Tensor]:
    """The weights that go: for every tensor that is offered a bool tensor of its shape, true where a weight goes.

    The least go first, and of equals the one that comes first. A tensor keeps at least one weight. With the global
    scope all weights compete by their plain worth (and not by its share of the tensor's mean, as units do).
    """
    assert isinstance(target, Ratio)
    names = offered(worth, target)
    if target.scope == "global":
        return _globally({name: worth[name] for name in names}, target)
    return {name: _least(worth[name], _count(target.share_of(name), worth[name].numel())) for name in names}


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
    gone = _least(torch.cat(flat), min(_count(target.removed, total), total - len(flat)))
    parts = gone.split([v.numel() for v in flat])
    return {name: part.reshape(worth[name].shape) for name, part in zip(worth, parts, strict=True)}


def _count(share: float, n: int) -> int:
    """``min(ceil(share × n), n - 1)``, as GReg's code counts."""
    return min(math.ceil(share * n - 1e-9), n - 1)


@torch.no_grad()
def zero_(weights: Mapping[str, Tensor], gone: Mapping[str, Tensor]) -> None:
    """Put zeros where weights went."""
    for name, mask in gone.items():
        weights[name].masked_fill_(mask, 0.0)
