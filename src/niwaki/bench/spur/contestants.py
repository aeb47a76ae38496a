"""Who is compared: each makes a method of the shares of zeros on the way, the steps of a round, and a factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from niwaki.methods import Method, gradual, imp, movement, spur
from niwaki.methods.spur import Reading
from niwaki.targets import Ratio


@dataclass(frozen=True)
class Contestant:
    """One column of the comparison.

    Attributes:
        title: for tables. alphas: factors to choose from, on data that are held out; none where there is no factor.
        reading: of the penalty. proximal: its form.
        at_once: it goes to one share only, in as many steps as the others take to get there.
    """

    title: str
    alphas: tuple[float, ...] = ()
    reading: Reading | None = None
    proximal: bool = False
    at_once: str = ""

    def method(self, shares: Sequence[float], steps: int, alpha: float | None, where: str) -> Method:
        """As it is carried out on the matrices ``where``: a dense phase, then a round for each share."""
        target = Ratio(shares[-1], only=(where,))
        if self.at_once:
            return _at_once(self.at_once, target, steps, len(shares))
        rounds = shares[:-1] or 1
        if self.reading is None:
            return imp(target, rounds=rounds, steps=steps)
        assert alpha is not None
        return spur(target, rounds=rounds, steps=steps, alpha=alpha, reading=self.reading, proximal=self.proximal)


def _at_once(kind: str, target: Ratio, steps: int, rounds: int) -> Method:
    """Over as many steps as so many rounds after a dense phase: dense for half a round, zeros in place for a whole one
    in the end."""
    dense = steps // 2
    length, every = steps * rounds - dense, max(1, steps // 10)
    if kind == "movement":
        return movement(target, steps=length, every=every, dense=dense, after=steps)
    return gradual(target, steps=length, every=every, first=0.5, dense=dense, after=steps)


CONTESTANTS: Mapping[str, Contestant] = {
    "imp": Contestant("IMP"),
    "spur": Contestant("SPUR: group lasso", (1e-4, 1e-3, 1e-2), "group_lasso"),
    "spur-proximal": Contestant("SPUR: group lasso, proximal", (3.0, 10.0, 30.0), "group_lasso", proximal=True),
    "spur-scaled": Contestant("SPUR: scaled group lasso", (1e-5, 1e-4, 1e-3), "scaled_group_lasso"),
    "spur-uneven": Contestant("SPUR: unevenness", (1e-4, 1e-3), "unevenness"),
    "spur-relative": Contestant("SPUR: relative unevenness", (1e-1, 1.0), "relative_unevenness"),
    "l1": Contestant("control: L1", (1e-6, 1e-5, 1e-4), "l1"),
    "l2": Contestant("control: L2", (1e-4, 1e-3, 1e-2), "l2"),
    "gmp": Contestant("gradual magnitude", at_once="gradual"),
    "movement": Contestant("movement", at_once="movement"),
}

USUAL = ("imp", "spur", "l1", "l2", "gmp")

__all__ = ["CONTESTANTS", "USUAL", "Contestant"]
