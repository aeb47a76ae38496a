"""A plan: which units go, written so that it can be read, checked and applied to a fresh model of the same class."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from niwaki.errors import BrokenFile, IllegalPlan, StalePlan
from niwaki.replacing import replacing
from niwaki.units.axis import Axis
from niwaki.wording import counted

Selection = Mapping[str, "tuple[int, ...]"]
"""Group name to the ascending unit numbers that go."""

Numbers = Mapping["tuple[str, str]", "tuple[int, int]"]
"""(module name, attribute) to its value before and after. An attribute is a name, or ``config.NAME``."""

FORMAT, VERSION = "niwaki.plan", 2
READABLE = (1, 2)
_ATTRIBUTE = re.compile(r"(config\.)?[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Choice:
    """What was decided in one group: its kind, how many units it had, and which of them go."""

    kind: str
    size: int
    removed: tuple[int, ...]

    @property
    def kept(self) -> int:
        return self.size - len(self.removed)


@dataclass(frozen=True)
class Plan:
    """Which indices of which tensors go.

    ``tensors``: the dense shapes of all parameters and buffers (the model's fingerprint). ``aliases``: other names of
    shared tensors. ``choices``: per group, which units go. ``removed``: per tensor axis, the ascending indices that
    go. ``made_by``: how it came to be (plain JSON). ``numbers``: whole numbers of modules that follow the cut
    (``num_heads``, say).
    """

    tensors: Mapping[str, tuple[int, ...]]
    removed: Mapping[Axis, tuple[int, ...]]
    choices: Mapping[str, Choice] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)
    numbers: Numbers = field(default_factory=dict)

    def __post_init__(self) -> None:
        for axis, indices in self.removed.items():
            _check_axis(axis, indices, self.tensors)
        for (module, attribute), values in self.numbers.items():
            _check_number(module, attribute, values)
        for name, choice in self.choices.items():
            _check_choice(name, choice)

    @property
    def fingerprint(self) -> str:
        """A short hash of the dense model's tensor names and shapes."""
        text = json.dumps(sorted((n, list(s)) for n, s in self.tensors.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def kept(self, axis: Axis) -> list[int]:
        """Ascending indices of an axis that stay."""
        every = range(self.tensors[axis.name][axis.dim])
        gone = set(self.removed.get(axis, ()))
        return [i for i in every if i not in gone] if gone else list(every)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor after the cut."""
        return tuple(n - len(self.removed.get(Axis(name, d), ())) for d, n in enumerate(self.tensors[name]))

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raise :class:`StalePlan`, naming the first difference, unless these are the shapes the plan was made for."""
        for name, shape in self.tensors.items():
            if name not in shapes:
                raise StalePlan(f"the plan is of another model: it knows a tensor {name!r} that this model lacks")
            if tuple(shapes[name]) != shape:
                hint = " (it has been cut already)" if tuple(shapes[name]) == self.shape(name) else ""
                raise StalePlan(
                    f"the plan is of another model: {name!r} has shape {tuple(shapes[name])} here{hint}, "
                    f"{shape} in the plan"
                )
        extra = [n for n in shapes if n not in self.tensors and n not in self.aliases]
        if extra:
            raise StalePlan(
                f"the plan is of another model: this one has a tensor {extra[0]!r} that the plan does not know"
            )

    def then(self, later: Plan) -> Plan:
        """This plan followed by one made on the cut model, as one plan on the dense model."""
        later.check({name: self.shape(name) for name in self.tensors})
        removed: dict[Axis, tuple[int, ...]] = dict(self.removed)
        for axis, indices in later.removed.items():
            kept = self.kept(axis)
            removed[axis] = tuple(sorted({*self.removed.get(axis, ()), *(kept[i] for i in indices)}))
        made = {"steps": [*_steps(self), *_steps(later)]}
        numbers = dict(self.numbers)
        for place, (before, after) in later.numbers.items():
            numbers[place] = (self.numbers.get(place, (before,))[0], after)
        return Plan(self.tensors, removed, {}, self.aliases, made, numbers)

    # -- JSON ---------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "made_by": dict(self.made_by),
            "groups": {
                name: {"kind": c.kind, "units": c.size, "kept": c.kept, "removed": list(c.removed)}
                for name, c in self.choices.items()
            },
            "removed": [{"tensor": a.name, "dim": a.dim, "indices": list(i)} for a, i in self.removed.items()],
            "numbers": [
                {"module": module, "attribute": attribute, "from": before, "to": after}
                for (module, attribute), (before, after) in self.numbers.items()
            ],
            "tensors": {name: list(shape) for name, shape in self.tensors.items()},
            "aliases": dict(self.aliases),
        }

    @staticmethod
    def from_json(data: Any) -> Plan:
        """The plan in ``data``; anything malformed or out of range is a :class:`BrokenFile`."""
        try:
            return _from_json(data)
        except (KeyError, TypeError, AttributeError, ValueError) as trouble:
            raise BrokenFile(f"not a usable plan: {trouble}") from trouble

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the plan as JSON, whole or not at all. Returns the path."""
        path = Path(path)
        text = json.dumps(self.to_json(), indent=2)
        text = re.sub(r"\[\s+((?:\d+,\s+)*\d+)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text)
        with replacing(path) as part:
            part.write_text(text + "\n", encoding="utf-8")
        return path

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Plan:
        """Read a plan. Raises :class:`BrokenFile` if it is missing, truncated or says what cannot be."""
        path = Path(path)
        if not path.is_file():
            raise BrokenFile(f"no plan at {path}")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as trouble:
            raise BrokenFile(f"{path} is not readable JSON (truncated?): {trouble}") from trouble
        return Plan.from_json(data)

    def __str__(self) -> str:
        head = f"Plan for model {self.fingerprint}"
        if not self.choices:  # of several steps, which may have divided it into other units
            gone = [axis for axis, indices in self.removed.items() if indices]
            rows = [f"  {a}: {self.tensors[a.name][a.dim]} → {self.shape(a.name)[a.dim]}" for a in gone]
            return "\n".join([f"{head}: {counted(len(gone), 'dimension')} of tensors shrink.", *rows])
        lines = [f"{head}: {sum(len(c.removed) for c in self.choices.values())} units go."]
        lines += [f"  {name}: {c.size} → {c.kept} {c.kind}" for name, c in self.choices.items() if c.removed]
        return "\n".join(lines)


def _steps(plan: Plan) -> list[Any]:
    return list(plan.made_by.get("steps", [dict(plan.made_by)]))


def _check_choice(name: str, choice: Choice) -> None:
    removed = choice.removed
    if not all(type(n) is int for n in (choice.size, *removed)) or list(removed) != sorted(set(removed)):
        raise IllegalPlan(f"the units that go of group {name!r} must be whole numbers that ascend without repeats")
    if removed and (removed[0] < 0 or removed[-1] >= choice.size or len(removed) >= choice.size):
        raise IllegalPlan(
            f"group {name!r} has units 0 to {choice.size - 1}, of which one must stay; the plan removes {len(removed)} "
            f"of {removed[0]} to {removed[-1]}"
        )


def _check_axis(axis: Axis, indices: Iterable[int], tensors: Mapping[str, tuple[int, ...]]) -> None:
    if axis.name not in tensors:
        raise IllegalPlan(f"a plan removes indices of {axis.name!r}, which is not among its tensors")
    shape = tensors[axis.name]
    if not 0 <= axis.dim < len(shape):
        raise IllegalPlan(f"{axis.name!r} has {len(shape)} dimensions, the plan names dimension {axis.dim}")
    indices = tuple(indices)
    if not set(map(type, indices)) <= {int}:
        raise IllegalPlan(
            f"indices of {axis} must be whole numbers, found {next(i for i in indices if type(i) is not int)!r}"
        )
    if list(indices) != sorted(set(indices)):
        raise IllegalPlan(f"indices of {axis} must ascend without repeats")
    if indices and (indices[0] < 0 or indices[-1] >= shape[axis.dim]):
        raise IllegalPlan(
            f"{axis} has indices 0 to {shape[axis.dim] - 1}, the plan removes {indices[0]} to {indices[-1]}"
        )
    if len(indices) >= shape[axis.dim]:
        raise IllegalPlan(f"the plan removes all {shape[axis.dim]} indices of {axis}: the layer would be empty")


def _check_number(module: str, attribute: str, values: tuple[int, int]) -> None:
    if not _ATTRIBUTE.fullmatch(attribute):
        raise IllegalPlan(f"a plan sets the number {attribute!r} of module {module!r}, which is no attribute's name")
    if any(type(v) is not int for v in values) or not 0 < values[1] <= values[0]:
        raise IllegalPlan(f"a plan sets {module}.{attribute} from {values[0]!r} to {values[1]!r}; numbers only shrink")


def _from_json(data: Any) -> Plan:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"expected an object with format {FORMAT!r}")
    if data.get("version") not in READABLE:
        raise ValueError(f"version {data.get('version')!r} is not {VERSION}; this file needs another release of niwaki")
    tensors = {str(name): tuple(_count(n) for n in shape) for name, shape in data["tensors"].items()}
    removed: dict[Axis, tuple[int, ...]] = {}
    for row in data["removed"]:
        axis = Axis(_text(row["tensor"]), _count(row["dim"]))
        if axis in removed:
            raise ValueError(f"{axis} appears twice")
        removed[axis] = tuple(row["indices"])
    choices = {
        str(name): Choice(_text(c["kind"]), _count(c["units"]), tuple(_count(i) for i in c["removed"]))
        for name, c in data["groups"].items()
    }
    aliases = {str(k): _text(v) for k, v in data.get("aliases", {}).items()}
    numbers: dict[tuple[str, str], tuple[int, int]] = {}
    for row in data.get("numbers", []):
        place = (_text(row["module"]), _text(row["attribute"]))
        if place in numbers:
            raise ValueError(f"number {'.'.join(place)} appears twice")
        numbers[place] = (_count(row["from"]), _count(row["to"]))
    plan = Plan(tensors, removed, choices, aliases, dict(data.get("made_by", {})), numbers)
    if data.get("fingerprint") != plan.fingerprint:
        raise ValueError("the fingerprint does not fit the tensors listed: the file was changed or damaged")
    return plan


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"expected a whole number of at least 0, found {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {value!r}")
    return value
