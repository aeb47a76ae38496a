"""What a method may see, and what it may ask for. It never touches a model, an optimizer or a loader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from torch import Tensor

from niwaki.errors import BadInput
from niwaki.penalties import Penalty
from niwaki.scores import Score
from niwaki.targets import Target

Of = Literal["units", "weights"]
"""What is pruned: units of the coupling graph, which can be cut; or single weights, which can only be zero."""
Chosen = Mapping[str, "tuple[int, ...] | Tensor"]
"""Units by group; or, of single weights, a bool tensor by tensor name, true where a weight goes."""


def check_of(of: object) -> None:
    """Raise :class:`BadInput` unless ``of`` says what is pruned."""
    if of not in get_args(Of):
        raise BadInput(f"of must be 'units' (filters, heads, neurons, …) or 'weights' (single ones), not {of!r}")


def check_switch(value: object, name: str) -> None:
    """Raise :class:`BadInput` unless it is True or False."""
    if type(value) is not bool:
        raise BadInput(f"{name} must be True or False, not {value!r}")


@dataclass(frozen=True)
class Sampling:
    """Which data a method looks at.

    Attributes:
        samples: so many are used; all, if the data has fewer.
        fresh: new samples for every look, in place of the same ones.
        memory: bytes of the batches, and of what blocks give on them, that are kept in memory; what does not fit goes
            to files in a temporary folder.
    """

    samples: int = 1280
    fresh: bool = False
    memory: int = 2**30

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("memory", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise BadInput(f"{name} must be a whole number of at least {least}, not {value!r}")
        check_switch(self.fresh, "fresh")


@dataclass(frozen=True, eq=False)
class Place:
    """A group whose units are chosen by what they do on data: how many of each part stay.

    ``parts``: the part of each unit, int64 of shape (units,); ``keep``: a number for each part. Where there is no
    balance, all units are of one part. ``matrix``: is each layer that takes the units one matrix, so that it has inner
    products and can be fitted? (Grouped and transposed convolutions are not.)
    """

    name: str
    parts: Tensor
    keep: tuple[int, ...]
    matrix: bool = True

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def whole(self) -> bool:
        """Do all stay?"""
        return sum(self.keep) == len(self)


class Activity(Protocol):
    """What the units of a group do on data, and what the layers that take them make of it."""

    def mass(self, *, absolute: bool = True) -> Tensor:
        """The hidden activations of every unit, summed over samples and positions; of their absolute values, or with
        their signs."""
        ...

    def importance(self, kept: Tensor, *, batch_statistics: bool = False) -> Tensor:
        """Per unit: the gradient of half the squared difference between the whole output and that of the kept units,
        summed over samples and positions. ``kept``: bool per unit; with none, the output of none is 0.
        ``batch_statistics``: a batch norm forms the latter on the statistics of each batch."""
        ...

    def errors(self, weights: Iterable[Tensor]) -> list[float]:
        """For each set of weights, one number per unit: the summed squared difference between the whole output and the
        one in which every unit counts so much."""
        ...

    def products(self) -> Tensor:
        """Inner products of what the units add to the output, (units, units)."""
        ...

    def compensation(self, kept: Tensor, ridge: float) -> Mapping[str, Tensor]:
        """By tensor name: new values with which the kept units stand in for the others, by least squares."""
        ...

    def scaled(self, kept: Tensor, factor: float) -> Mapping[str, Tensor]:
        """By tensor name: new values with which the kept units count so many times."""
        ...


class View(Protocol):
    """The model, as a method sees it."""

    chosen: Chosen
    """What was chosen last."""
    pressure: dict[str, float]
    """Penalty factor now on the chosen units, by group."""
    kept_pressure: dict[str, float]
    """Penalty factor now on all the others; below 0, they are let grow."""

    @property
    def recording(self) -> bool:
        """Is this a step whose figures should be recorded?"""
        ...

    def worth(self, score: Score, of: Of = "units") -> Mapping[str, Tensor]:
        """The score of every unit, by group; or of every single weight, by tensor, in its shape."""
        ...

    def offered(self, target: Target, of: Of = "units") -> list[str]:
        """Names of the groups (tensors) of which a target may take units (single weights)."""
        ...

    def stacks(self, names: Iterable[str]) -> list[str]:
        """Those of the tensors that hold several matrices, numbered along dimension 0."""
        ...

    def select(self, worth: Mapping[str, Tensor], target: Target, of: Of = "units", *, as_is: bool = False) -> Chosen:
        """What must go to reach the target. ``as_is``: where groups compete, their scores are compared as they are, not
        divided by the mean of each group."""
        ...

    def places(self, target: Target, sampling: Sampling, *, outputs: bool = False) -> list[Place]:
        """The groups that can be looked at on data, in forward order, with how many units stay to reach the target.
        ``outputs``: what is made of the units will be asked for, beside their mass.

        Raises:
            BadInput: there is no data, or no such group.
        """
        ...

    def activity(self, name: str, sampling: Sampling, *, moments: bool = False) -> Activity:
        """What the units of a group do, with the weights and masks of now. ``moments``: its inner products and its
        compensation will be asked for; only of a place that is a matrix."""
        ...

    def look_anew(self) -> None:
        """The model has changed since it was looked at: nothing is kept of that."""
        ...

    def sensitivity(self, target: Target, sampling: Sampling, *, each: bool) -> Mapping[str, Tensor]:
        """By group: the absolute gradient of the loss with respect to a mask of ones on every unit; ``each``: the sum
        over batches of absolute values, in place of the absolute value of the sum."""
        ...

    def note(self, **figures: Any) -> None:
        """Add a row to the run's record."""
        ...


@dataclass(frozen=True)
class Pressing:
    """A penalty in one step: its factor on what is chosen, and on what is kept, by group or tensor."""

    penalty: Penalty
    chosen: Mapping[str, float]
    kept: Mapping[str, float] = field(default_factory=dict)
    of: Of = "units"


@dataclass(frozen=True)
class Regularizing:
    """A penalty on whole tensors in one step: its factor by tensor name. ``proximal``: as a proximal step of the
    learning rate times the factor after the optimizer's, and not as a gradient. ``stacks``: the tensors of which
    dimension 0 numbers matrices, each with rows and columns of its own."""

    penalty: Penalty
    factors: Mapping[str, float]
    proximal: bool = False
    stacks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Orders:
    """What a part wants done in this step. Before the optimizer steps: remember, press. After it: rewind, write, mask,
    measure again, cut, in this order.

    ``mask``: what is to be zero, as it was chosen when the part said so. ``write``: new values of tensors, by name.
    ``reestimate``: measure the statistics of batch norms again on this data. ``remember``: keep a copy of the model as
    it is. ``rewind``: go back to that copy, with an optimizer that has seen nothing; what is zero stays zero.
    """

    press: tuple[Pressing, ...] = ()
    regularize: tuple[Regularizing, ...] = ()
    mask: tuple[Chosen, ...] = ()
    cut: bool = False
    write: tuple[Mapping[str, Tensor], ...] = ()
    reestimate: Sampling | None = None
    remember: bool = False
    rewind: bool = False

    def __add__(self, other: Orders) -> Orders:
        return Orders(
            self.press + other.press,
            self.regularize + other.regularize,
            self.mask + other.mask,
            self.cut or other.cut,
            self.write + other.write,
            other.reestimate or self.reestimate,
            self.remember or other.remember,
            self.rewind or other.rewind,
        )


State = dict[str, Any]
NOTHING = Orders()


@dataclass(frozen=True)
class Outcome:
    """The end of a part's step: what is to be done, and whether the part is over. ``again``: the part must be asked
    once more before this step goes on, when that has been done."""

    orders: Orders = field(default=NOTHING)
    over: bool = False
    again: bool = False
