"""Iterative magnitude pruning, of single weights (Han et al. 2015; Frankle and Carbin 2019)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Literal, get_args

from niwaki.errors import BadInput
from niwaki.methods.method import Method
from niwaki.methods.parts import Choose, Mask, Part, Remember, Rewind, Wait, at_least, wait
from niwaki.methods.several import sequence
from niwaki.schedules import geometric, linear
from niwaki.scores import L1, Score
from niwaki.targets import Ratio

Spacing = Literal["geometric", "linear"]


def imp(
    target: Ratio | float,
    *,
    rounds: int | Sequence[float] = 5,
    steps: int = 1_000,
    dense: int | None = None,
    spacing: Spacing = "geometric",
    rewind: int | Literal[False] | None = None,
    score: Score | None = None,
) -> Method:
    """Iterative magnitude pruning: train, let the smallest single weights go, train again, and so on.

    What: train for `dense` steps; then in each round put zeros in place of the smallest weights, up to the round's
    share, and train the rest for `steps` steps. What is zero stays so.

    When to use it: for many zeros in a language model or any other network, where there is time to train; as the
    baseline of :func:`spur`.

    When not: where the model must be faster on ordinary hardware: scattered zeros make no tensor smaller (`nk.pack`
    tells what they are worth). Use :func:`greg1` on units, or :func:`spur`.

    Settings:
        target: the share of zeros in the end, and where: nk.Ratio(0.9, only="*.layer.*"), or a plain number. Its scope
            says which weights compete: of a tensor, of a layer, or all. Weights are those that inputs are multiplied
            with, of layers or of modules of your own; left out are vectors (biases, norms, layer scales), embeddings,
            tokens and tables of positions (the module niwaki.surgery.multiplied has the rule). Leave out more, such as
            the classifier, by skip="classifier.*".
        rounds: how many; or the shares on the way, ascending, before the target's own.
        steps: optimizer steps of each round. Let the learning rate start anew in each
            (:func:`niwaki.schedules.per_round`).
        dense: steps before the first round; as many as `steps` if None. 0 if the model is trained already: then the
            first choice is made before the first step, and its zeros are put in place after it (with `rewind`, that
            step is taken back as well).
        spacing: `"geometric"`: every round takes the same share of what is left; `"linear"`: the same number.
        rewind: None or False: go on from the trained weights. k: after each choice go back to the whole model as it was
            after k steps, head and buffers too, and train that, with an optimizer that has seen nothing. 0: to the
            pretrained weights, those from before the first step.
        score: of single weights; nk.scores.L1, their magnitude, if None.
    """
    target = ratio(target)
    at_least(steps, 1, "steps")
    rewind = None if rewind is False else rewind
    body = [*_before(steps if dense is None else dense, rewind)]
    for share in _shares(target, rounds, spacing):
        body += [Choose(score or L1(), target.on_the_way(share), "weights"), Mask()]
        body += [Rewind()] if rewind is not None else []
        body += [Wait(steps)]
    return Method("imp", sequence(*body))


def ratio(target: Ratio | float) -> Ratio:
    """A plain number is the share of zeros in every tensor."""
    if isinstance(target, Ratio):
        return target
    if _is_number(target):
        return Ratio(target)
    raise BadInput(f"single weights are counted: the target is nk.Ratio(0.9), or a plain 0.9, not {target!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_numbers(values: object) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and all(map(_is_number, values))


def _before(dense: int, rewind: int | None) -> Iterator[Part]:
    """Training before the first round, with a copy of the model at the step to go back to."""
    at_least(dense, 0, "dense")
    if rewind is None:
        yield from wait(dense)
        return
    at_least(rewind, 0, "rewind")
    if rewind > dense:
        raise BadInput(f"rewind={rewind} comes after the first choice, which is made after {dense} dense steps")
    yield from wait(rewind)
    yield Remember()
    yield from wait(dense - rewind)


def _shares(target: Ratio, rounds: int | Sequence[float], spacing: Spacing) -> Iterator[Callable[[float], float]]:
    """For each round: what of a share that is to go in the end goes by then."""
    if spacing not in get_args(Spacing):
        raise BadInput(f"spacing must be 'geometric' or 'linear', not {spacing!r}")
    if isinstance(rounds, int):
        at_least(rounds, 1, "rounds")
        law = geometric if spacing == "geometric" else linear
        yield from (lambda goal, k=k: law(goal, rounds)[k] for k in range(rounds))
        return
    if not _are_numbers(rounds):
        raise BadInput(f"rounds is how many (5), or the shares on the way (0.5, 0.8), not {rounds!r}")
    way = [0.0, *rounds, target.most]
    if any(not low < high for low, high in pairwise(way)):
        raise BadInput(f"rounds are shares above 0, each larger than the one before, and the target's last: {way[1:]}")
    yield from (lambda goal, share=share: min(goal, share) for share in way[1:])


__all__ = ["Spacing", "imp", "ratio"]
