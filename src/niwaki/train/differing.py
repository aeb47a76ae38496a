"""Ranks that do not do the same: what is compared, and where it may come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from niwaki.methods import Method, to_json
from niwaki.ranks import Ranks, digest, is_sharded
from niwaki.wrappers import bare


def why(ranks: Ranks, method: Method, model: nn.Module) -> str:
    """Of ranks that differ: where it may come from. All ranks take part."""
    if len(set(ranks.texts(digest(to_json(method))))) > 1:
        return "They were given different methods (or settings, or seeds): build the method from the same numbers."
    if len(set(ranks.texts(_weights(model)))) > 1:
        return (
            "Their weights differ too: load the same weights on every rank, or wrap the model before you give it "
            "to nk.Pruning (DistributedDataParallel, fully_shard), and let gradients be averaged."
        )
    return (
        "Their weights and methods are the same, so they were asked for in different steps, or from numbers that "
        "are not summed up over ranks (a score of your own that looks at data, or draws without a seed)."
    )


def unlike(there: Any, here: Any, path: str = "", most: int = 4) -> list[str]:
    """Where two values of JSON differ, the first few places: ``body.parts[0].target.removed is 0.9 there and 0.8
    here``."""
    if isinstance(there, Mapping) and isinstance(here, Mapping) and there.keys() == here.keys():
        pairs = [(there[key], here[key], f"{path}.{key}".lstrip(".")) for key in there]
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = [(*both, f"{path}[{k}]") for k, both in enumerate(zip(there, here, strict=True))]
    else:
        return [] if there == here else [f"{path} is {_short(there)} there and {_short(here)} here".lstrip()]
    return [told for one, other, at in pairs for told in unlike(one, other, at)][:most]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def sample(model: nn.Module, entries: int) -> dict[str, Tensor]:
    """The first entries of every parameter, which differ soon between models that are trained apart."""
    return {name: p.detach().flatten()[:entries] for name, p in bare(model).named_parameters()}


def _weights(model: nn.Module) -> str:
    """Whose weights are the same? For a message."""
    return digest({name: p for name, p in bare(model).named_parameters() if not is_sharded(p)})


__all__ = ["sample", "unlike", "why"]
