"""i-SpaSP (Wolfe and Kyrillidis 2022): structured pruning by sparse signal recovery."""

from __future__ import annotations

from niwaki.methods.method import Method
from niwaki.methods.parts import Cut
from niwaki.methods.recover import Recover
from niwaki.methods.selectors import Mass, Pursuit, Statistics
from niwaki.methods.several import sequence
from niwaki.methods.view import Sampling
from niwaki.targets import Target


def ispasp(
    target: Target,
    *,
    iters: int = 20,
    samples: int = 1280,
    fresh: bool = False,
    mass: Mass = "absolute",
    statistics: Statistics = "stored",
    compensate: bool = False,
    ridge: float = 1e-6,
    reestimate: bool = False,
    tune: int = 0,
    memory: int = 2**30,
) -> Method:
    """i-SpaSP: keep the units from which the next layer can make what it made of all (Algorithm 1).

    What: H is what the units of a group do on data, at the input of the layer that takes them; the second part is that
    layer, with the batch norm right behind it. Twice as many units as will stay, those on which the output's residual
    depends most (the largest entries of its gradient with respect to H), join the ones kept so far; of all these the
    ones of the largest hidden mass stay; and again, `iters` times. Group by group in forward order, each on what the
    already pruned front gives.

    When to use it: after training, with some data and no labels: a thousand samples and a few forward passes. Neurons,
    filters, heads, gated MLPs. Fine-tune afterwards as the paper does, or set `compensate`.

    When not: where no data is at hand; and without fine-tuning or `compensate` at strong ratios, where the output of
    the kept units alone is far from that of all. Where at least half of the units stay, twice as many are all of them:
    the pursuit then is :func:`topk`, which is cheaper. Of heads that are fine-tuned afterwards :func:`topk` and
    :func:`michel` chose better than it on one of two tasks; with `compensate` it was the best, or close to it, before.

    Settings (the paper: mass="signed", fresh=True on MNIST; the authors' code: statistics="batch", tune for an epoch):
        target: how small, and where. nk.Macs and nk.Params take the same share from every group.
        iters: `T`. On fixed samples a choice that repeats ends the search.
        samples: how many are looked at (the code: 1,280 images).
        fresh: new samples in every iteration, as the paper has it (512 images for MNIST); else the same ones in all, as
            the code does. The front then runs anew each time, so that cost grows with the square of the depth.
        mass: `"absolute"`: a unit's mass is the sum of its absolute activations. `"signed"`: their sum, as in the
            paper. After a ReLU both are the same; of heads and GELUs the signs cancel.
        statistics: of the batch norm behind the layer, when it forms the output of the kept units: `"stored"`, or those
            of each `"batch"` as in the authors' code, which builds the candidate anew in training mode.
        compensate: when a group is chosen, fit the layer that takes it to its old output by least squares. Not in the
            paper.
        ridge: of that fit, towards the weights as they are; a share of the mean second moment of an input.
        reestimate: measure all batch norms again on the samples when all is chosen. The code lets them start anew and
            leaves this to fine-tuning; here they are else kept.
        tune: training steps after each group, with what is chosen held at zero (the paper: an epoch). Needs
            nk.Pruning, in place of nk.prune.
        memory: bytes of samples and of what blocks give on them that stay in memory; the rest goes to a temporary
            folder.
    """
    part = Recover(
        Pursuit(iters, mass, statistics),
        target,
        Sampling(samples, fresh, memory),
        compensate=compensate,
        ridge=ridge,
        reestimate=reestimate,
        tune=tune,
    )
    return Method("ispasp", sequence(part, Cut()), DEPARTS)


DEPARTS = (
    "any group of the coupling graph inside one block may be pruned; residual streams, groups that a norm averages "
    "over and dimensions inside heads only when the target names them in full",
    "targets may be a share of multiply-adds or parameters; the paper gives how many stay per block",
    "a group under a balance (query heads per key-value head) is chosen within its parts",
    "several layers that take the same units: the objective is the sum over them",
    "importance is computed from sums over the samples where the layer is linear in H: the same numbers as the paper's "
    "gradient over all samples, in one pass over the data instead of one per iteration",
    "the mass is that of absolute activations by default (mass='signed' for the paper's)",
    "batch norms keep their statistics by default, also when the output of the kept units is formed (the authors' code "
    "forms it on batch statistics: statistics='batch')",
    "blocks are masked, and all is cut at the end",
)
