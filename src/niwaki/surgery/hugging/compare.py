"""Is a model that is built from a config the cut model, up to the values of what is saved?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from niwaki.surgery.hugging.facts import Place, computed, facts, left_out
from niwaki.units import Plan

Difference = tuple[Place, Any, Any]
"""Where, what the built model says, and what the cut model says."""


def differences(built: nn.Module, cut: nn.Module, dense: nn.Module, plan: Plan) -> list[Difference]:
    """What ``built``, of the new config, keeps otherwise than ``cut``. ``dense`` is built of the old config.

    Left out: what the user once set by hand (no config said it before, and saving it was never enough), and counts that
    the forward pass did not show, but that have the name and the value of one that the plan sets elsewhere.
    """
    there, before = facts(built), facts(dense)
    moved = {(attribute, *pair) for (_, attribute), pair in plan.numbers.items()}
    found: list[Difference] = []
    for place, value in facts(cut).items():
        new = there.get(place)
        by_hand = new == before.get(place) and place not in plan.numbers and not _lost(place, cut, plan)
        if new != value and not by_hand and (place[1], value, new) not in moved:
            found.append((place, new, value))
    return found


def uncounted(built: nn.Module, cut: nn.Module, plan: Plan) -> dict[Place, int]:
    """Counts of the second kind that :func:`differences` leaves out, with the value that they should have."""
    moved = {(attribute, *pair) for (_, attribute), pair in plan.numbers.items()}
    there = facts(built)
    return {place: there[place] for place, n in facts(cut).items() if (place[1], n, there.get(place)) in moved}


def recomputed(built: nn.Module, dense: nn.Module) -> Iterator[str]:
    """Names of tensors that are not saved, and that the class computes to other values than in the dense model."""
    before = computed(dense)
    for name, t in computed(built).items():
        was = before[name]
        if t.shape != was.shape or t.is_meta or not bool((t == was).all()):
            yield name
    sizes = [{name: t.shape for name, t in model.state_dict(keep_vars=True).items()} for model in (built, dense)]
    yield from (name for name in left_out(built) if sizes[0][name] != sizes[1][name])


def told(difference: Difference) -> str:
    """The difference in a sentence."""
    (module, attribute), new, value = difference
    return f"{'.'.join(filter(None, (module, attribute)))} would be {new!r}, and it is {value!r}"


def _lost(place: Place, cut: nn.Module, plan: Plan) -> bool:
    """Did the module lose entries of its own? Then an adapter may have set the number."""
    return any(axis.name.rpartition(".")[0] == place[0] for axis in plan.removed)


def first_length(found: Mapping[Any, int], wanted: Mapping[Any, int]) -> str:
    """The first length that differs, in words."""
    (name, where), n = next((k, n) for k, n in found.items() if wanted.get(k) != n)
    place = (
        f"{name!r} would have {n} in dimension {where}" if isinstance(where, int) else f"{name}.{where} would be {n}"
    )
    return f"{place}, and it is {wanted.get((name, where))}"


__all__ = ["differences", "first_length", "recomputed", "told", "uncounted"]
