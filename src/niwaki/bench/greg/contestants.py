"""Who is compared: a way to prune, and a way to train afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from niwaki import methods
from niwaki.bench.greg.settings import Settings
from niwaki.methods import Method
from niwaki.recipes.rates import Step
from niwaki.targets import Target

PAPER_STEPS = Step((0.5, 0.75))


@dataclass(frozen=True)
class Contestant:
    """A name, what it stands for, and what it does.

    Attributes:
        method: makes the method of a target, settings and the job's seed, for what is drawn.
        schedule: of the learning rate, as in a recipe. lr: the first rate.
        fresh: new weights after the cut: the small network is trained from scratch.
        everywhere: the groups compete with each other for as many multiply-adds as the row's shares leave.
        taught: the dense network teaches while the small one is retrained.
        longer: so many times the epochs of retraining. as_long: as many images after the cut as GReg-1 sees in pressing
            and retraining.
    """

    name: str
    label: str
    method: Callable[[Target, Settings, int], Method]
    schedule: str | Step = PAPER_STEPS
    lr: Callable[[Settings], float] = lambda s: s.lr
    fresh: bool = False
    everywhere: bool = False
    taught: bool = False
    longer: float = 1.0
    as_long: bool = False


def _one_shot(target: Target, settings: Settings, seed: int) -> Method:
    return methods.magnitude(target)


def _greg1(target: Target, s: Settings, seed: int) -> Method:
    return methods.greg1(target, grow=s.grow, every=s.every, ceiling=s.ceiling, hold=s.hold)


def _greg2(target: Target, s: Settings, seed: int) -> Method:
    pressing = partial(methods.greg2, grow=s.grow, every=s.every, ceiling=s.ceiling, hold=s.hold)
    return pressing(target, pick_grow=s.pick_grow, pick_at=s.pick_at)


def _fixreg(target: Target, s: Settings, seed: int) -> Method:
    steps = int(s.every * s.ceiling / s.grow)
    return methods.fixreg(target, factor=s.ceiling, steps=steps, every=s.every, hold=s.hold)


CONTESTANTS: dict[str, Contestant] = {
    each.name: each
    for each in (
        Contestant("l1", "one-shot L1, step 0.01", _one_shot),
        Contestant("l1-cosine", "one-shot L1, cosine 0.01", _one_shot, "cosine"),
        Contestant("l1-low", "one-shot L1, step 0.001", _one_shot, lr=lambda s: s.low_lr),
        Contestant("greg1", "GReg-1, step 0.01", _greg1),
        Contestant("greg2", "GReg-2, step 0.01", _greg2),
        Contestant("greg1-cosine", "GReg-1, cosine 0.01", _greg1, "cosine"),
        Contestant("greg2-cosine", "GReg-2, cosine 0.01", _greg2, "cosine"),
        Contestant("fixreg", "FixReg, step 0.01", _fixreg),
        Contestant("random", "random units, step 0.01", lambda target, s, seed: methods.random(target, seed=seed)),
        Contestant("l1-global", "one-shot L1 by MACs", _one_shot, everywhere=True),
        Contestant("greg1-global", "GReg-1 by MACs", _greg1, everywhere=True),
        Contestant("l1-taught", "one-shot L1, cosine 0.01, taught", _one_shot, "cosine", taught=True),
        Contestant("greg1-taught", "GReg-1, cosine 0.01, taught", _greg1, "cosine", taught=True),
        Contestant("greg2-taught", "GReg-2, cosine 0.01, taught", _greg2, "cosine", taught=True),
        Contestant("l1-longer", "one-shot L1, cosine 0.01, 2.5x epochs", _one_shot, "cosine", longer=2.5),
        Contestant("greg1-longer", "GReg-1, cosine 0.01, 2.5x epochs", _greg1, "cosine", longer=2.5),
        Contestant("l1-as-long", "one-shot L1, step 0.01, as long as GReg", _one_shot, as_long=True),
        Contestant("scratch", "from scratch, step 0.1", _one_shot, lr=lambda s: s.scratch_lr, fresh=True, as_long=True),
    )
}
"""By name. The masks of ``l1…``, ``greg1…``, ``fixreg`` and ``scratch`` are the same, from the same checkpoint, but for
those ``-global``. These, ``-taught``, ``-longer`` and ``-as-long`` go beyond the paper."""
USUAL = ("l1", "l1-cosine", "l1-low", "greg1", "greg2", "scratch")

__all__ = ["CONTESTANTS", "USUAL", "Contestant"]
