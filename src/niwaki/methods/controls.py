"""Controls: what a method must beat to have shown anything."""

from __future__ import annotations

from niwaki.methods.greg import DEPARTS
from niwaki.methods.method import Method
from niwaki.methods.parts import Choose, Hold, ending
from niwaki.methods.press import Press
from niwaki.methods.several import sequence
from niwaki.methods.view import Of
from niwaki.penalties import Ridge
from niwaki.schedules import Constant, above_zero
from niwaki.scores import L1, Random
from niwaki.targets import Target


def random(target: Target, *, seed: int = 0, of: Of = "units") -> Method:
    """One-shot removal of units drawn at random.

    What: the lower bound of every comparison: the same sizes, no idea which units matter.

    When to use it: beside every other method, with the same fine-tuning. What a method gains over it is what its score
    is worth.

    When not: to get a good network.

    Settings:
        target: how small, and where.
        seed: of the draw; the same seed gives the same units.
        of: ``"units"``, which are cut, or single ``"weights"``, which become zeros.
    """
    return Method("random", sequence(Choose(Random(seed), target, of), ending(of)))


def fixreg(
    target: Target,
    *,
    factor: float = 1.0,
    steps: int = 50_000,
    every: int = 10,
    hold: int = 5_000,
    of: Of = "units",
) -> Method:
    """FixReg: press the units that will go with the full penalty from the first step (the control of GReg).

    What: choose by the L1 norm as GReg-1 does, but do not let the penalty grow: the same factor for all steps. What
    GReg-1 gains over it is what growing is worth.

    When to use it: as a control beside GReg-1, of as many steps.

    When not: to get a good network; the chosen units are gone within a few hundred steps, before the rest could adapt.

    Settings (defaults: the authors' code, in its history; the published code has it no more):
        target: how small, and where.
        factor: ``λ`` on the chosen units. With a learning rate of 0.001 they halve every 700 steps.
        steps: so long.
        every: steps between two rows of the record.
        hold: further steps at the same factor before the cut.
        of: units, which are cut, or single weights, which become zeros; as for :func:`greg1`.
    """
    above_zero(factor, "factor")
    return Method(
        "fixreg",
        sequence(
            Choose(L1(), target, of),
            Press(Ridge(), Constant(factor, every), ceiling=max(factor, 1.0), parted=None, steps=steps, of=of),
            Hold(hold, of=of),
            ending(of),
        ),
        DEPARTS,
    )
