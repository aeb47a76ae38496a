"""N of every M weights, as sparse tensor cores want them."""

from __future__ import annotations

from niwaki.errors import BadInput
from niwaki.methods.method import Method
from niwaki.methods.parts import Choose, Mask
from niwaki.methods.several import sequence
from niwaki.scores import L1, Score
from niwaki.targets import NM


def nm(target: NM | str = "2:4", *, score: Score | None = None) -> Method:
    """One-shot N:M pruning (Mishra et al., *Accelerating Sparse Deep Neural Networks*, 2021).

    What: of every M weights that follow each other along the inputs of a layer, let the N largest stay; then train on.

    When to use it: 2:4 for sparse tensor cores, which multiply such matrices up to twice as fast; as the baseline of
    what half of all zeros cost.

    When not: on hardware that has no use for it, where it makes nothing smaller or faster.

    Settings:
        target: nk.NM("2:4", only=…), or just "2:4". Only layers of which M divides the number of inputs are taken
            from; a matrix that is held by no layer is taken to have them along dimension 1, and experts in one tensor
            where their module says it (`is_transposed`). What counts as a weight is told in the card of :func:`imp`.
        score: of single weights; nk.scores.L1, their magnitude, if None.

    Zeros stay zero while ``run.step()`` goes on. In training the choice is made before the first step, and its zeros
    are put in place after it; ``nk.prune`` puts them in place at once.
    """
    target = NM(keep=target) if isinstance(target, str) else target
    if not isinstance(target, NM):
        raise BadInput(
            f"nm lets N of every M weights stay: its target is nk.NM('2:4') or just '2:4' ({{nm: '2:4'}} in a recipe), "
            f"not {target!r}. nk.methods.magnitude(target, of='weights') takes a share"
        )
    return Method("nm", sequence(Choose(score or L1(), target, "weights"), Mask()))


__all__ = ["nm"]
