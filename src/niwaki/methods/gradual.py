"""Zeros that grow in number while the network trains: by magnitude, and by movement."""

from __future__ import annotations

from niwaki.methods.gradually import Gradually
from niwaki.methods.imp import ratio
from niwaki.methods.method import Method
from niwaki.methods.parts import Choose, Part, at_least, wait
from niwaki.methods.several import Sequence, sequence
from niwaki.scores import L1, Movement, Score
from niwaki.targets import Ratio


def gradual(
    target: Ratio | float,
    *,
    steps: int = 3_000,
    every: int = 100,
    first: float = 0.0,
    dense: int = 0,
    after: int = 0,
    score: Score | None = None,
) -> Method:
    """Gradual magnitude pruning (Zhu and Gupta, *To Prune, or Not to Prune*, 2017).

    What: while the network trains, choose the smallest single weights again every few steps and put zeros in their
    place, so that their share grows along a cubic: fast at first, slowly in the end.

    When to use it: as the baseline of every method for single weights. Well tuned it beats most of them on BERT
    (Kurtic and Alistarh, *GMP*, 2022): a large first step, a long way, a rate that falls in a straight line, a teacher.

    When not: as for :func:`imp`.

    Settings:
        target: the share of zeros in the end, and where; a plain number, or nk.Ratio.
        steps: optimizer steps from the first choice to the last.
        every: steps from one choice to the next.
        first: the share that goes at the first choice. GMP* begins with a large one (0.5 to 0.7).
        dense: steps before. 0 if the model is trained already.
        after: steps with all zeros in place.
        score: of single weights; nk.scores.L1, their magnitude, if None.
    """
    choose = Choose(score or L1(), ratio(target), "weights")
    return Method("gradual", _stretched(Gradually(choose, steps, every, first), dense, after))


def movement(
    target: Ratio | float, *, steps: int = 3_000, every: int = 1, first: float = 0.0, dense: int = 0, after: int = 0
) -> Method:
    """Movement pruning (Sanh, Wolf and Rush, *Movement Pruning*, NeurIPS 2020): what training pushes towards zero goes.

    What: sum up minus gradient times weight of every single weight while the network trains; choose the lowest, again
    and again, a share that grows along a cubic.

    When to use it: to fine-tune a pretrained model and prune it at once, to 85 % and more: what a weight was worth for
    other data does not count.

    When not: without many steps of training, or for few zeros, where magnitude does better.

    Settings:
        target: the share of zeros in the end, and where. The paper lets all weights compete: scope="global" is its
            global variant.
        steps: optimizer steps from the first choice to the last.
        every: steps from one choice to the next.
        first: the share that goes at the first choice.
        dense: steps before, in which the sums begin.
        after: steps with all zeros in place.
    """
    choose = Choose(Movement(), ratio(target), "weights")
    return Method(
        "movement",
        _stretched(Gradually(choose, steps, every, first), dense, after),
        (
            "a weight that went stays zero; the paper keeps its value, and lets it come back when others fall below it",
            "sums are not weighted by the learning rate of a step",
            "sums are of the gradient as the optimizer gets it: clipped, where the training clips",
        ),
    )


def _stretched(part: Part, dense: int, after: int) -> Sequence:
    """With training before and after it."""
    at_least(dense, 0, "dense")
    at_least(after, 0, "after")
    return sequence(*wait(dense), part, *wait(after))


__all__ = ["gradual", "movement"]
