"""Baselines of i-SpaSP with the same interface: the heaviest units, and greedy forward selection."""

from __future__ import annotations

from niwaki.methods.method import Method
from niwaki.methods.parts import Cut
from niwaki.methods.recover import Recover
from niwaki.methods.selectors import Greedy, Heaviest, Mass
from niwaki.methods.several import sequence
from niwaki.methods.view import Sampling
from niwaki.targets import Target


def topk(
    target: Target,
    *,
    samples: int = 1280,
    fresh: bool = False,
    mass: Mass = "absolute",
    compensate: bool = False,
    ridge: float = 1e-6,
    reestimate: bool = False,
    tune: int = 0,
    memory: int = 2**30,
) -> Method:
    """Top-K: keep the units of the largest hidden mass (the baseline of Wolfe and Kyrillidis 2022, Sec. 6).

    What: sum the activations of every unit over data; those that sum up to most stay. Group by group in forward order.

    When to use it: beside i-SpaSP. What that gains is what looking at the next layer is worth.

    When not: where a unit is large and the next layer does not read it, or two units say the same.

    Settings:
        target: how small, and where.
        samples: how many are looked at.
        fresh: new samples for every group, in place of the same ones.
        mass: of `"absolute"` activations, or `"signed"`.
        compensate: least squares for the layer that takes the group, as in ispasp.
        ridge: of that fit.
        reestimate: measure all batch norms again when all is chosen.
        tune: training steps after each group, under nk.Pruning.
        memory: bytes that stay in memory.
    """
    part = Recover(
        Heaviest(mass), target, Sampling(samples, fresh, memory), compensate, ridge, reestimate=reestimate, tune=tune
    )
    departs = ("one mini-batch in the paper; here as many samples as asked for",)
    return Method("topk", sequence(part, Cut()), departs)


def gfs(
    target: Target,
    *,
    candidates: int | None = None,
    reuse: bool = True,
    rescale: bool = True,
    seed: int = 0,
    samples: int = 1280,
    fresh: bool = False,
    compensate: bool = False,
    ridge: float = 1e-6,
    reestimate: bool = False,
    tune: int = 0,
    memory: int = 2**30,
) -> Method:
    """GFS: greedy forward selection (Ye et al., *Good Subnetworks Provably Exist*, ICML 2020).

    What: start each group with no unit; add the one whose inclusion brings the average of those chosen nearest to that
    of all, as the layer that takes them sees it; until as many are chosen as stay. These then count units / kept times,
    as an average does.

    When to use it: where the network must work before any fine-tuning: it looks at what it chooses all together.

    When not: wide layers without `reuse`: every step tries every unit.

    Settings:
        target: how small, and where.
        candidates: so many random units are tried in each step (the stochastic variant: 50); all if None.
        reuse: inner products of what the units give are computed once, and a step costs one matrix-vector product;
            else every candidate is run through the layer in every step, which chooses the same.
        rescale: let the kept units count units / kept times, as the selection does; `compensate` takes its place.
        seed: of the candidates.
        samples: how many are looked at.
        fresh: new samples in every step.
        compensate: least squares for the layer that takes the group, as in ispasp.
        ridge: of that fit.
        reestimate: measure all batch norms again when all is chosen.
        tune: training steps after each group, under nk.Pruning.
        memory: bytes that stay in memory.
    """
    part = Recover(
        Greedy(candidates, reuse, rescale, seed),
        target,
        Sampling(samples, fresh, memory),
        compensate,
        ridge,
        reestimate=reestimate,
        tune=tune,
    )
    departs = (
        "reconstructed: the squared error of the layer's output takes the place of the loss of the task",
        "a unit is chosen once; the paper's average may take one several times",
        "as many units stay as the target says; the authors' code stops where the accuracy of a training subset allows",
    )
    return Method("gfs", sequence(part, Cut()), departs)
