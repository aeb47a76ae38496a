"""Head masking by the gradient of the loss (Michel et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from niwaki.errors import BadInput
from niwaki.methods.method import Method
from niwaki.methods.parts import Cut, Part, check_target
from niwaki.methods.several import sequence
from niwaki.methods.view import Outcome, Sampling, State, View, check_switch
from niwaki.targets import Ratio, Target


@dataclass(frozen=True)
class Sensitive(Part):
    """Choose the units to which the loss is least sensitive. ``each``: absolute values batch by batch, then summed;
    else of the sum. ``normalised``: divide by the Euclidean norm over each group."""

    target: Target = field(default_factory=lambda: Ratio(scope="global"))
    sampling: Sampling = field(default_factory=Sampling)
    each: bool = False
    normalised: bool = False
    needs: ClassVar[frozenset[str]] = frozenset(("data", "loss"))

    def __post_init__(self) -> None:
        for name, kind in (("target", Target), ("sampling", Sampling)):
            if not isinstance(getattr(self, name), kind):
                raise BadInput(f"{name} must be a {kind.__name__}, not {getattr(self, name)!r}")
        check_switch(self.each, "each")
        check_switch(self.normalised, "normalised")

    def step(self, state: State, view: View) -> Outcome:
        worth = dict(view.sensitivity(self.target, self.sampling, each=self.each))
        if self.normalised:
            worth = {name: _unit_length(values) for name, values in worth.items()}
        view.chosen = dict(view.select(worth, self.target, as_is=True))
        view.note(event="choose", chosen={name: list(units) for name, units in view.chosen.items()})
        return Outcome(over=True)


def _unit_length(values: Tensor) -> Tensor:
    length = values.norm()
    return values / length if length > 0 else values


def michel(
    target: Target,
    *,
    samples: int = 1280,
    each: bool = False,
    normalised: bool = False,
    memory: int = 2**30,
) -> Method:
    """Head masking: keep the heads to which the loss is most sensitive (Michel, Levy, Neubig, NeurIPS 2019).

    What: put a mask of ones on every head's output, and take the absolute gradient of the loss with respect to it,
    summed over data. The least go at once, over all layers together.

    When to use it: heads, with labels: `nk.prune(model, inputs, method, data=batches, loss=loss)`, where
    `loss(model, batch)` gives one number, the mean over the batch. Other groups work alike; name the heads with `only`
    to prune heads alone.

    When not: without labels; and where many units must go: it looks at one at a time.

    Settings:
        target: how small, and where. Units of all groups compete, unless nk.Ratio is by pattern.
        samples: how many are looked at.
        each: take absolute values batch by batch before summing (the authors' code); else of the whole sum.
        normalised: divide by the Euclidean norm over each layer, as the authors' code offers.
        memory: bytes of samples that stay in memory.
    """
    check_target(target)
    by_pattern = isinstance(target, Ratio) and isinstance(target.removed, Mapping)
    everywhere = target if by_pattern else replace(target, scope="global")
    departs = (
        "one unit of every layer stays",
        "any group of the coupling graph inside one block may be pruned",
        "the gradient is summed over the data before its absolute value is taken (each=True for the authors' code)",
        "all at once; the paper prunes in steps of 10 percent",
    )
    part = Sensitive(everywhere, Sampling(samples, False, memory), each, normalised)
    return Method("michel", sequence(part, Cut()), departs)


__all__ = ["Sensitive", "michel"]
