"""Layers of different sizes: ``per_layer_config``, where the installed transformers has it.

Each layer is looked at as if all were cut like it: then one config has one number again, and stock code builds that
layer from it, or does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from niwaki.surgery.hugging.facts import sizes
from niwaki.surgery.hugging.fields import Field, configs, fields, is_layered, overrides, without_layers
from niwaki.surgery.hugging.search import Built, Search, lengths
from niwaki.units import Plan

Matters = Callable[[str], bool]
"""Is a tensor or module of this name to be as in the cut model?"""
Trouble = Callable[[Built, nn.Module, Matters], str]
"""What a built model would do otherwise than the cut one, and than the dense one did; empty if nothing."""
Values = Mapping[Field, "int | None"]


@dataclass(frozen=True)
class Stack:
    """The layers of which a config tells. ``path`` leads to that config, ``name`` to the list of layers."""

    path: tuple[str, ...]
    name: str
    count: int

    def only(self, layer: int) -> Matters:
        """What is in this layer, or in none."""
        head = f"{self.name}."
        return lambda name: not name.startswith(head) or name[len(head) :].split(".")[0] == str(layer)


def by_layer(model: nn.Module, dense: nn.Module, plan: Plan, trouble: Trouble) -> Values | None:
    """The values by which the config tells of every layer; None if it cannot.

    Args:
        model: after the cut. dense: what stock code builds from its config so far. plan: what was cut.
    """
    stack = _stack(model, plan)
    if stack is None:
        return None
    found: list[Values] = []
    known: dict[Any, Values | None] = {}
    for layer in range(stack.count):
        alike = tuple(_signature(m, stack, layer) for m in (dense, model))
        if alike not in known:
            known[alike] = _values(model, stack, layer, trouble)
        values = known[alike]
        if values is None:
            return None
        found.append(values)
    return dict(_joined(model.config, stack, found))


def _stack(model: nn.Module, plan: Plan) -> Stack | None:
    """The one list of layers that the plan cut, and the one config that tells of so many."""
    cut = [axis.name for axis in plan.removed]
    lists = {name: len(m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList)}
    hit = {name: n for name, n in lists.items() if any(tensor.startswith(f"{name}.") for tensor in cut)}
    outer = {name: n for name, n in hit.items() if not any(name.startswith(f"{other}.") for other in hit)}
    stacks = [
        Stack(path, name, count)
        for name, count in outer.items()
        for path, config in configs(model.config)
        if is_layered(config) and vars(config).get("num_hidden_layers") == count
    ]
    return stacks[0] if len(outer) == len(stacks) == 1 else None


def _values(model: nn.Module, stack: Stack, layer: int, trouble: Trouble) -> Values | None:
    """From which values stock code builds this layer, and all that is in none."""
    search = Search(type(model), without_layers(model.config, stack.path, layer))
    dense = search.build({})
    matters = stack.only(layer)
    wanted = {place: n for place, n in lengths(model).items() if matters(place[0])}
    fitting = search.fitting(dense, wanted, matters) if dense is not None else iter(())
    return next((built.values for built in fitting if dense and not trouble(built, dense.model, matters)), None)


def _signature(model: nn.Module, stack: Stack, layer: int) -> tuple[Any, ...]:
    head = f"{stack.name}.{layer}."
    return tuple((name[len(head) :], dim, n) for (name, dim), n in sizes(model).items() if name.startswith(head))


def _joined(config: Any, stack: Stack, found: list[Values]) -> Iterator[tuple[Field, int | None]]:
    """One number where all layers say the same, and one for each layer where they do not."""
    varied = {name for values in overrides(config, stack.path).values() for name in values}
    before = [fields(without_layers(config, stack.path, layer)) for layer in range(stack.count)]
    for field in sorted({field for values in found for field in values}):
        numbers = [values.get(field, old[field]) for values, old in zip(found, before, strict=True)]
        if len(set(numbers)) == 1 and field.name not in varied:
            yield field, numbers[0]
        else:
            yield from ((replace(field, layer=k), n) for k, n in enumerate(numbers))


__all__ = ["by_layer"]
