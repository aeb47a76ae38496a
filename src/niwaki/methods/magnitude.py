"""One-shot magnitude pruning: the baseline."""

from __future__ import annotations

from niwaki.methods.method import Method
from niwaki.methods.parts import Choose, ending
from niwaki.methods.several import sequence
from niwaki.methods.view import Of
from niwaki.scores import L1, Score
from niwaki.targets import Target


def magnitude(target: Target, *, score: Score | None = None, of: Of = "units") -> Method:
    """One-shot magnitude pruning (Li et al., *Pruning Filters for Efficient ConvNets*, ICLR 2017).

    What: score every unit by the L1 norm of the weights that make it, remove the smallest at once, fine-tune.

    When to use it: always first. With a well-tuned fine-tuning it is hard to beat at mild ratios, and costs nothing.

    When not: at strong ratios, where removing trained filters at once breaks what the others have learned; use
    :func:`greg1`.

    Settings:
        target: how small, and where (:class:`niwaki.Ratio`, :class:`niwaki.Macs`, :class:`niwaki.Params`).
        score: any score; L1 if None.
        of: ``"units"``: filters, heads, neurons, …, which are cut. ``"weights"``: single weights, which become zeros
            (Han et al., *Learning both Weights and Connections*, NeurIPS 2015).
    """
    departs = ("residual streams may be pruned too (the paper leaves them whole): skip them by name to do as it does",)
    return Method("magnitude", sequence(Choose(score or L1(), target, of), ending(of)), departs)
