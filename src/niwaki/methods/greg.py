"""Pruning by growing regularization (Wang, Qin, Zhang, Fu: *Neural Pruning via Growing Regularization*, ICLR 2021)."""

from __future__ import annotations

from niwaki.methods.method import Method
from niwaki.methods.parts import Choose, Hold, ending
from niwaki.methods.press import Press, Spread
from niwaki.methods.several import sequence
from niwaki.methods.view import Of
from niwaki.penalties import Ridge
from niwaki.schedules import Ramp
from niwaki.scores import L1
from niwaki.targets import Target

DEPARTS = (
    "targets may be a share of multiply-adds or parameters; the paper gives a ratio per layer (use Ratio by name)",
    "any group of the coupling graph may be pruned, residual streams too; the paper's code leaves those whole",
    "the penalty acts on the final gradient, after clipping, once per optimizer step",
    "a group under a balance gives up equally many units of every part",
)


def greg1(
    target: Target,
    *,
    grow: float = 1e-4,
    every: int = 10,
    ceiling: float = 1.0,
    hold: int = 5_000,
    parted: float | None = 1000.0,
    of: Of = "units",
) -> Method:
    """GReg-1: press the units that will go with a slowly growing L2 penalty, then remove them (Sec. 3.2, Eq. 2).

    What: choose by the L1 norm of the trained weights; every ``every`` steps add ``grow`` to the L2 factor of the
    chosen units only; when they have shrunk to nothing, hold, then cut. Fine-tune afterwards as usual. The network has
    time to move what it needs out of the units that go.

    When to use it: strong ratios and compact networks, where one-shot removal hurts. Give it a trained network, a small
    constant learning rate (the paper: 0.001 with momentum 0.9) and batch norm in training mode.

    When not: mild ratios with ample fine-tuning, where plain magnitude does as well for less; and post-training pruning
    without a training loop.

    Settings (defaults: the paper's appendix and code for CIFAR; ImageNet used every=5, hold=40_000):
        target: how small, and where.
        grow: ``δλ``, added at each update. Larger is shorter and rougher.
        every: ``K_u``, steps from one update to the next.
        ceiling: ``τ``, the factor at which a group is done.
        hold: ``K_s``, steps at the final factor before the cut.
        parted: also done when in all groups kept units outweigh chosen ones so many times (the code's early stop; it is
            not in the paper's Algorithm 1). None to rely on the ceiling alone.
        of: ``"units"``: filters, heads, neurons, …, which are cut. ``"weights"``: single weights, which become zeros,
            and stay so while ``run.step()`` goes on; the early stop is then off, as in the code. The paper leaves the
            first layer whole: ``skip`` it.

    The pressing phase takes at most ``every × (ceiling / grow + 1)`` steps.
    """
    return Method(
        "greg1",
        sequence(
            Choose(L1(), target, of),
            Press(Ridge(), Ramp(grow, every), ceiling=ceiling, parted=_bar(parted, of), of=of),
            Hold(hold, of=of),
            ending(of),
        ),
        DEPARTS,
    )


def greg2(
    target: Target,
    *,
    pick_grow: float = 1e-5,
    pick_at: float = 0.01,
    grow: float = 1e-4,
    every: int = 10,
    ceiling: float = 1.0,
    restore: float = 1e-4,
    hold: int = 5_000,
    parted: float | None = 1000.0,
    of: Of = "units",
) -> Method:
    """GReg-2: let a small growing L2 penalty on *all* units show which ones the loss needs, then go on as GReg-1 does
    (Sec. 3.3, Eqs. 3 to 9; Algorithm 1).

    What: three phases. (1) Raise the L2 factor of all units alike: a unit that the loss curves around resists, the
    others shrink, so that their L1 norms part by the curvature, which is never computed. Pick by these norms. (2) Press
    the picked units harder and harder, and let the kept ones grow again. (3) Hold, then cut. Fine-tune afterwards.

    When to use it: as GReg-1, where the norms of the trained network say little about what matters.

    When not: where GReg-1 is not needed either. On the paper's CIFAR networks the two differ by 0.2 points.

    Settings (defaults: the paper's appendix and code for CIFAR; ImageNet used every=5, hold=40_000):
        target: how small, and where.
        pick_grow: ``δλ`` in the first phase, ten times smaller than in the second.
        pick_at: ``τ'``, the factor at which units are picked.
        grow: ``δλ`` in the second phase.
        every: ``K_u``, steps from one update to the next.
        ceiling: ``τ``, the factor at which a group is done.
        restore: the kept units get the factor ``-restore`` in the second phase and the third. The code has 1e-4; the
            paper says the weight decay, which is 1e-4 on ImageNet and 5e-4 on CIFAR.
        hold: ``K_s``, steps at the final factors before the cut.
        parted: a group is also done when its kept units outweigh its picked ones so many times (the code's early stop,
            here for each group by itself). None to rely on the ceiling alone.
        of: units, which are cut, or single weights, which become zeros; as for :func:`greg1`.

    The second phase goes on from the factor that the first has reached: ``pick_at``, or the first multiple of
    ``pick_grow`` above it. The phases take ``every × pick_at / pick_grow`` and at most
    ``every × ((ceiling - pick_at) / grow + 1)`` steps.
    """
    spread = Spread(Ridge(), Ramp(pick_grow, every), ceiling=pick_at, target=target, of=of)
    return Method(
        "greg2",
        sequence(
            spread,
            Choose(L1(), target, of),
            Press(
                Ridge(), Ramp(grow, every, spread.reached), ceiling, _bar(parted, of), each=True, restore=restore, of=of
            ),
            Hold(hold, of=of),
            ending(of),
        ),
        (
            *DEPARTS,
            "units are picked when the last step of the first phase has acted for K_u steps; the code picks at once",
            "the moving average of the early stop begins when units are picked; in the code it runs on from the first "
            "phase, over picks that were not final",
        ),
    )


def _bar(parted: float | None, of: Of) -> float | None:
    """The early stop, which the code has for filters only."""
    return None if of == "weights" else parted
