"""The tables that genes are drawn from, and what a kind of gene is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

IMAGE, TOKEN = "image", "token"
ANY = IMAGE + " " + TOKEN

T = TypeVar("T")


@dataclass(frozen=True)
class Size:
    """The shape of one sample: ``(channels, height, width)`` of an image, ``(tokens, features)`` of a sentence."""

    dims: tuple[int, ...]

    @property
    def image(self) -> bool:
        return len(self.dims) == 3

    @property
    def form(self) -> str:
        return IMAGE if self.image else TOKEN

    @property
    def width(self) -> int:
        """How many channels or features."""
        return self.dims[0] if self.image else self.dims[-1]

    @property
    def axis(self) -> int:
        """The dimension of a batch that holds them."""
        return 1 if self.image else 2

    @property
    def column(self) -> tuple[int, ...]:
        """The shape of one number a channel, broadcast over the rest."""
        return (self.width, 1, 1) if self.image else (self.width,)


class Knobs:
    """The numbers of a gene, taken one after another; zeros once they are used up."""

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self._numbers = list(numbers)

    def number(self) -> int:
        """The next number as it is."""
        return self._numbers.pop(0) if self._numbers else 0

    def below(self, count: int) -> int:
        """The next number, as one of ``range(count)``."""
        return self.number() % max(count, 1)

    def of(self, *options: T) -> T:
        """The next number, as one of the options; zero is the first."""
        return options[self.below(len(options))]

    def divisor(self, whole: int, least: int = 1) -> int:
        """A divisor of ``whole``, the smallest of at least ``least`` first."""
        return self.of(*([n for n in range(least, whole + 1) if whole % n == 0] or [1]))


Function = Callable[[Any, Tensor], Tensor]
Plain = Callable[[Tensor, int, int, int], Tensor]
"""``(x, axis of the features, how many the dense network has, a small number)``: the last two are written numbers."""
Maker = Callable[[Size, Knobs], "nn.Module | None"]


class Step(nn.Module):
    """A function with what it holds: modules, parameters, and tensors as buffers."""

    def __init__(self, function: Function, **held: nn.Module | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, value in held.items():
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


@dataclass(frozen=True)
class Kind:
    """One kind of gene. ``make`` gives None where the size does not allow it. ``gives``: the form that leaves, where
    it is another. ``weight``: how often it is drawn."""

    name: str
    accepts: str
    make: Maker
    weight: float = 1.0
    gives: str = ""


KINDS: dict[str, Kind] = {}
STEMS: dict[str, Kind] = {}
HEADS: dict[str, Kind] = {}


def gene(
    accepts: str, *, weight: float = 1.0, gives: str = "", table: dict[str, Kind] = KINDS
) -> Callable[[Maker], Maker]:
    """Register a maker under its function's name (without leading underscores)."""

    def register(maker: Maker) -> Maker:
        name = maker.__name__.strip("_")
        assert name not in table, f"two kinds of gene are called {name}"
        table[name] = Kind(name, accepts, maker, weight, gives)
        return maker

    return register


def plain(accepts: str, functions: Mapping[str, Plain], weight: float = 1.0) -> None:
    """Register functions without weights."""
    for name, function in functions.items():
        assert name not in KINDS, f"two kinds of gene are called {name}"
        KINDS[name] = Kind(name, accepts, _maker(function), weight)


def _maker(function: Plain) -> Maker:
    def make(size: Size, knobs: Knobs) -> nn.Module:
        axis, width, small = size.axis, size.width, knobs.below(6)
        return Step(lambda m, x: function(x, axis, width, small))

    return make
