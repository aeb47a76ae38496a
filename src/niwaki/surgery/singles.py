"""Single weights: which a model has, which go, and zeros in their place. They make no tensor smaller."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from niwaki.errors import BadInput, NothingToPrune
from niwaki.ranks import alike, as_part, is_sharded, local, numbers, shares
from niwaki.scores import Score, watches
from niwaki.surgery.multiplied import Inputs, Weights, inputs_of, multiplied
from niwaki.surgery.thresholds import least_of_shards
from niwaki.targets import NM, Ratio, Scope, Target, count
from niwaki.wording import some
from niwaki.wrappers import bare


@dataclass(frozen=True)
class _Named:
    """What the patterns of a target are held against."""

    name: str


def single_weights(model: nn.Module) -> Weights:
    """Parameters of which single weights may go, by name: those that inputs are multiplied with
    (:mod:`niwaki.surgery.multiplied`), and no embeddings, norms, biases or tables of positions.

    Raises:
        NothingToPrune: there are none.
    """
    model = bare(model)
    found = multiplied(model)
    if not found:
        raise NothingToPrune(
            f"{type(model).__name__} has no single weights that can go: no layer with a weight, and no other matrix "
            "that is multiplied. Embeddings, norms, biases and tables of positions are none "
            "(niwaki.surgery.multiplied tells what counts)."
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


def worth_each(
    score: Score, weights: Mapping[str, Tensor], moved: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """What every single weight is worth, in the shape of its tensor. ``moved``: what scores that watch training are of.

    Raises:
        BadInput: the score can tell of whole units only.
    """
    each = getattr(score, "each", None)
    if each is None:
        raise BadInput(f"{type(score).__name__} scores whole units and not single weights; nk.scores.L1 does both")
    inputs = {name: inputs_of(weights, name) for name in weights}
    if not watches(score):
        return Weights({name: each(name, w.detach().float()) for name, w in weights.items()}, inputs)
    sums = {name: (moved or {}).get(name, torch.zeros_like(w.detach())) for name, w in weights.items()}
    return _Watched({name: each(name, found) for name, found in sums.items()}, inputs, still(sums))


class _Watched(Weights):
    """What training has told of each entry. ``still``: names of the tensors of which it has told nothing yet."""

    def __init__(self, found: Mapping[str, Tensor], inputs: Mapping[str, Inputs], still: Iterable[str]) -> None:
        super().__init__(found, inputs)
        self.still = frozenset(still)


def still(sums: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that are zero all over: no gradient has arrived there yet. All ranks find the same."""
    moving = _where(sums, lambda values: values.any())
    return [name for name in sums if name not in moving]


def offered(weights: Mapping[str, Tensor], target: Target) -> list[str]:
    """Names of the tensors of which the target may take weights.

    Raises:
        BadInput: a pattern matches none, or nobody can tell where a tensor has its inputs, as NM wants.
        NothingToPrune: the patterns leave none; or no tensor has inputs in groups of M, as NM wants.
    """
    named: list[Any] = [_Named(name) for name in weights]
    target.check_patterns(named)
    names = [each.name for each in target.offers(named)]
    if not names and not (isinstance(target, Ratio) and not target.most):  # a share of 0 is a point of a sweep
        raise NothingToPrune(
            f"{target!r} leaves no tensor of single weights: {len(weights)} are there ({some(list(weights), 5)}), and "
            'its patterns pick none. Patterns are of tensors: only="encoder.*", skip="*.classifier.weight"'
        )
    if isinstance(target, NM):
        _check_known(weights, names, target)
        fitting = [name for name in names if _read_together(weights[name], inputs_of(weights, name)) % target.m == 0]
        if names and not fitting:
            raise NothingToPrune(
                f"NM({target.keep!r}) takes from tensors whose inputs are a multiple of {target.m}, and none is: "
                + ", ".join(f"{name} {tuple(weights[name].shape)}" for name in names[:5])
            )
        return fitting
    return names


def _check_known(weights: Mapping[str, Tensor], names: Iterable[str], target: NM) -> None:
    unknown = [
        name
        for name in names
        if not inputs_of(weights, name).known and any(n % target.m == 0 for n in weights[name].shape[1:])
    ]
    if unknown:
        raise BadInput(
            f"NM({target.keep!r}) compares weights that follow each other among the inputs, and along which dimension "
            f"those lie cannot be told of {some([f'{name} {tuple(weights[name].shape)}' for name in unknown])}: leave "
            f"them out, skip={unknown[:3]!r}; of experts in one tensor a bool is_transposed on their module tells it"
        )


def _read_together(weight: Tensor, inputs: Inputs) -> int:
    """How many inputs one output reads."""
    return weight.shape[inputs.dim] // inputs.parts


def select_each(
    worth: Mapping[str, Tensor], target: Target, gone: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The weights that go: for every tensor that is offered a bool tensor of its shape, true where a weight goes.

    The least go first, and of equals the one that comes first; before all of them those that are ``gone`` already. A
    tensor keeps at least one weight. Where several tensors compete (scope global or layer), their weights do so by
    their plain worth, and not by its share of the tensor's mean, as units do. Tensors of which a score that watches
    training knows nothing yet are left alone: their weights would go by their place.

    Raises:
        BadInput: a worth is no number, so that it has no place in an order.
    """
    unknown = worth.still if isinstance(worth, _Watched) else ()
    names = [name for name in offered(worth, target) if name not in unknown]
    _check_numbers({name: worth[name] for name in names})
    before = {name: _after(worth[name], (gone or {}).get(name)) for name in names}
    if isinstance(target, NM):
        dims = {name: inputs_of(worth, name).dim for name in names}
        return {name: _least_of_each(values, target.n, target.m, dims[name]) for name, values in before.items()}
    assert isinstance(target, Ratio)
    found: dict[str, Tensor] = {}
    for pool in _pools(names, target.scope):
        found |= _least_of_all({name: before[name] for name in pool}, target.share_of(pool[0]))
    return {name: found[name] for name in names}


def _where(tensors: Mapping[str, Tensor], holds: Callable[[Tensor], Tensor]) -> list[str]:
    """Names of the tensors of which it holds on any rank. All ranks find the same, so that none goes on alone."""
    names, values, found = list(tensors), list(tensors.values()), list[str]()
    for at in alike(values):
        here = torch.stack([holds(local(values[k])) for k in at]).long()
        flags = shares(values[at[0]], "max")(here).tolist()
        found += [names[k] for k, flag in zip(at, flags, strict=True) if flag]
    return found


def _check_numbers(worth: Mapping[str, Tensor]) -> None:
    found = _where(worth, lambda values: values.isnan().any())
    if found:
        raise BadInput(
            f"weights of {found[0]!r} are worth NaN, which is neither more nor less than anything "
            f"({len(found)} of {len(worth)} tensors). Has the training diverged, so that the weights are no numbers "
            "themselves? Go back to a checkpoint from before; or see what the score makes of them."
        )


def _after(worth: Tensor, gone: Tensor | None) -> Tensor:
    if gone is None:
        return worth
    if is_sharded(worth):
        return as_part(local(worth).masked_fill(local(gone), -math.inf), worth)
    return worth.masked_fill(gone.to(worth.device), -math.inf)


def _pools(names: list[str], scope: Scope) -> list[list[str]]:
    """Which tensors compete with each other."""
    if scope == "group":
        return [[name] for name in names]
    if scope == "global":
        return [names] if names else []
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(_layer(name), []).append(name)
    return list(layers.values())


def _layer(name: str) -> str:
    """``encoder.layer.3`` of ``encoder.layer.3.output.dense.weight``; without a number, the name itself."""
    found = re.match(r"(?:.*?\.)?\d+(?=\.)", name)
    return found[0] if found else name


def _least_of_all(worth: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """This share of all weights together; every tensor keeps its best."""
    if any(is_sharded(each) for each in worth.values()):
        return least_of_shards(worth, share)
    flat = []
    for each in worth.values():
        values = each.flatten().clone()
        values[len(values) - 1 - int(values.flip(0).argmax())] = math.inf  # of equals, the last
        flat.append(values)
    sizes = [values.numel() for values in flat]
    gone = _least(torch.cat(flat), min(count(share, sum(sizes)), sum(sizes) - len(sizes)))
    return {name: part.reshape(worth[name].shape) for name, part in zip(worth, gone.split(sizes), strict=True)}


def _least(worth: Tensor, count: int) -> Tensor:
    """What lies below a threshold, and of what equals it the first. On a CPU, to put all in order takes several times
    as long, and more memory; elsewhere a threshold may be slow, or not be found the same way each time."""
    if count == 0:
        return torch.zeros_like(worth, dtype=torch.bool)
    if worth.device.type != "cpu":
        return torch.zeros_like(worth, dtype=torch.bool).scatter_(0, _ascending(worth)[:count], True)
    bound = worth.to(torch.promote_types(worth.dtype, torch.float32)).kthvalue(count).values
    gone = worth < bound
    equal = (worth == bound).nonzero().flatten()
    gone[equal[: count - int(gone.sum())]] = True
    return gone


def _ascending(worth: Tensor) -> Tensor:
    return torch.sort(worth, stable=True).indices


def _least_of_each(worth: Tensor, keep: int, of: int, dim: int) -> Tensor:
    """All but ``keep`` of every ``of`` that follow each other along a dimension."""
    if is_sharded(worth):
        held = numbers(worth, dim)
        if len(held) % of or (len(held) and int(held[0]) % of):
            raise BadInput(
                f"a weight of shape {tuple(worth.shape)} is sharded along dimension {dim}, where NM compares {of} "
                f"weights that follow each other: shard it along dimension {0 if dim else 1}"
            )
        return as_part(_least_of_each(local(worth), keep, of, dim), worth)
    last = worth.movedim(dim, -1)
    order = torch.sort(last.reshape(-1, of), dim=1, stable=True).indices
    gone = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, : of - keep], True)
    return gone.reshape(last.shape).movedim(-1, dim).contiguous()
