"""How small? A target is a frozen value; shares are of what REMAINS, except Ratio: the share REMOVED per scope."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import ClassVar, Literal, get_args

from niwaki.errors import BadInput, nearest
from niwaki.units import Group

Scope = Literal["group", "layer", "global"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """Fields that all targets share.

    Attributes:
        only: glob patterns of group names that may be pruned (all if empty).
        skip: glob patterns of group names that may not.
        round_to: widths that are left are multiples of this (rounded up, so that no more goes than was asked).
        decided_by: of a class: ``"module:function"`` that chooses the units where that takes more than counting, called
            with the graph, its ladders and the target; empty for those that :func:`niwaki.plan` knows itself.
        scope: ``"group"``: every group (of single weights: every tensor) gives the same share. ``"global"``: units of
            all groups compete, each score divided by its group's mean; single weights by their plain worth.
            ``"layer"``: single weights of one numbered layer compete (``encoder.layer.3``, with all its matrices).
    """

    decided_by: ClassVar[str] = ""

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    round_to: int = 1
    scope: Scope = "group"

    def __post_init__(self) -> None:
        for name in ("only", "skip"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (
                isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value)
            ):
                raise BadInput(f"{name} must be a glob pattern of group names or a list of them, not {value!r}")
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        if type(self.round_to) is not int or self.round_to < 1:
            raise BadInput(f"round_to must be a whole number of at least 1, not {self.round_to!r}")
        if self.scope not in get_args(Scope):
            raise BadInput(f"scope must be 'group', 'layer' or 'global', not {self.scope!r}")

    def picks(self, groups: Iterable[Group]) -> list[Group]:
        """The groups that ``only`` and ``skip`` leave. A pattern that matches no group is an error."""
        groups = list(groups)
        for pattern in (*self.only, *self.skip):
            if not any(fnmatchcase(g.name, pattern) for g in groups):
                names = ", ".join(g.name for g in groups)
                raise BadInput(f"the pattern {pattern!r} matches no group. Groups: {names}.")
        return [g for g in groups if self._allows(g.name)]

    def check_patterns(self, groups: Iterable[Group]) -> None:
        """Raise :class:`BadInput` where a pattern of shares matches none of the groups: a slip of the pen would prune
        nothing, silently."""

    def offers(self, groups: Iterable[Group]) -> list[Group]:
        """The groups of which units may be taken."""
        return self.picks(groups)

    def _allows(self, name: str) -> bool:
        wanted = not self.only or any(fnmatchcase(name, p) for p in self.only)
        return wanted and not any(fnmatchcase(name, p) for p in self.skip)


def count(share: float, n: int) -> int:
    """``min(ceil(share × n), n - 1)`` of ``n``, as GReg's code counts; 0.3 × 10 = 3.0000000000000004 is 3."""
    return min(math.ceil(share * n - 1e-9), n - 1)


@dataclass(frozen=True)
class Ratio(Target):
    """Remove this share of the units: ``min(ceil(ratio × n), n - 1)`` of ``n``, as GReg's code does.

    ``removed`` is a number in [0, 1), or a mapping of glob patterns of group names to such numbers (the first match
    wins; groups that match none stay whole).
    """

    removed: float | Mapping[str, float] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.removed, Mapping):
            object.__setattr__(self, "removed", dict(self.removed))
            for pattern in self.removed:
                if not isinstance(pattern, str):
                    raise BadInput(f"Ratio: patterns of group names are text; write '{pattern}', in quotes")
        for value in self.removed.values() if isinstance(self.removed, Mapping) else [self.removed]:
            _share(value, "Ratio (the share removed)", allow_zero=True)
        if isinstance(self.removed, Mapping) and self.scope != "group":
            raise BadInput(
                f"a Ratio by pattern says where to remove how much; scope={self.scope!r} would contradict it"
            )

    def share_of(self, name: str) -> float:
        """The share that the group called ``name`` loses."""
        if not isinstance(self.removed, Mapping):
            return self.removed
        return next((v for p, v in self.removed.items() if fnmatchcase(name, p)), 0.0)

    def check_patterns(self, groups: Iterable[Group]) -> None:
        groups = list(groups)
        for pattern in self.removed if isinstance(self.removed, Mapping) else ():
            Target(only=(pattern,)).picks(groups)

    def offers(self, groups: Iterable[Group]) -> list[Group]:
        return [g for g in self.picks(groups) if self.share_of(g.name) > 0]

    @property
    def most(self) -> float:
        """The largest share that it removes anywhere; 0 where it takes nothing."""
        return max(self.removed.values(), default=0.0) if isinstance(self.removed, Mapping) else self.removed

    def on_the_way(self, share: Callable[[float], float]) -> Ratio:
        """The same target with every share that it removes replaced by ``share`` of it, which is smaller."""
        if isinstance(self.removed, Mapping):
            return replace(self, removed={name: share(value) for name, value in self.removed.items()})
        return replace(self, removed=share(self.removed))

    def __hash__(self) -> int:
        return hash(str(self))


@dataclass(frozen=True)
class Macs(Target):
    """Multiply-adds left, as a share of the dense model's (0 to 1)."""

    remain: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _share(self.remain, "Macs (the share that remains)")


@dataclass(frozen=True)
class Params(Target):
    """Parameters left, as a share of the dense model's (0 to 1)."""

    remain: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _share(self.remain, "Params (the share that remains)")


@dataclass(frozen=True)
class Memory(Target):
    """Bytes that a forward pass needs at its peak left, as a share of the dense model's (0 to 1): parameters, buffers,
    inputs, and the results that are alive at once (:func:`niwaki.measure.peak_memory`), at the batch and the lengths
    that the model was traced with."""

    decided_by: ClassVar[str] = "niwaki.forecast.memory:decide"

    remain: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _share(self.remain, "Memory (the share that remains)")


RUNTIMES = ("pytorch", "compile", "onnxruntime", "openvino")
"""Where latency can be measured: PyTorch as it is, compiled by it, and two runtimes that take its exports."""


@dataclass(frozen=True)
class Latency(Target):
    """Time of one forward pass left, as a share of the dense model's, measured on this machine.

    Layers are timed alone at a ladder of widths, and a few networks whole (:func:`niwaki.forecast.profile`); of all
    plans that are quick enough by these times, the one that keeps the most importance is chosen, by a solver; it is cut
    and timed, and corrected where it misses. Groups compete, each score divided by its group's mean, whatever the
    scope. Widths are such as the runtime likes; ``round_to`` can demand others.

    Attributes:
        remain: 0 to 1. runtime: of ``RUNTIMES``. threads: of the CPU. batch: how many examples at once; None: as many
            as the model was traced with.
    """

    decided_by: ClassVar[str] = "niwaki.forecast.latency:decide"

    remain: float = 0.5
    runtime: str = "pytorch"
    threads: int = 1
    batch: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _share(self.remain, "Latency (the share that remains)")
        if self.runtime not in RUNTIMES:
            raise BadInput(
                f"no runtime is called {self.runtime!r}{nearest(str(self.runtime), RUNTIMES) or '.'} "
                f"Known: {', '.join(RUNTIMES)}."
            )
        for name, value in (("threads", self.threads), ("batch", 1 if self.batch is None else self.batch)):
            if type(value) is not int or value < 1:
                raise BadInput(f"Latency: {name} must be a whole number of at least 1, not {value!r}")


@dataclass(frozen=True)
class NM(Target):
    """Of every M single weights that follow each other along the inputs, N stay: ``NM("2:4")`` (Mishra et al. 2021).

    The form that sparse tensor cores multiply. Only tensors of layers whose inputs are a multiple of M are taken from.
    Inputs lie along dimension 1; along dimension 0 in transposed convolutions and the Conv1D of transformers.
    """

    keep: str = "2:4"

    def __post_init__(self) -> None:
        super().__post_init__()
        found = re.fullmatch(r"(\d+):(\d+)", self.keep) if isinstance(self.keep, str) else None
        if found is None or not 0 < int(found[1]) < int(found[2]):
            raise BadInput(f"NM is written 'N:M', with N of every M weights to stay and 0 < N < M, not {self.keep!r}")
        if self.scope != "group":
            raise BadInput(f"NM lets the weights of each {self.keep} compete; scope={self.scope!r} would contradict it")

    @property
    def n(self) -> int:
        return int(self.keep.split(":")[0])

    @property
    def m(self) -> int:
        return int(self.keep.split(":")[1])


SINGLE: tuple[type[Target], ...] = (Ratio, NM)
"""Targets that single weights can be chosen by."""
TARGETS: dict[str, type[Target]] = {
    "Ratio": Ratio,
    "Macs": Macs,
    "Params": Params,
    "Memory": Memory,
    "Latency": Latency,
    "NM": NM,
}
"""By name."""


def _share(value: object, what: str, *, allow_zero: bool = False) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not (0 <= value < 1 if allow_zero else 0 < value <= 1):  # type: ignore[operator]
        span = "from 0 up to, not including, 1" if allow_zero else "above 0 and at most 1"
        raise BadInput(f"{what} must be a number {span}, not {value!r}")
