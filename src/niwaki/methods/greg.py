"""Pruning by growing regularization (Wang, Qin, Zhang, Fu: *Neural Pruning via Growing Regularization*, ICLR 2021)."""

from __future__ import annotations

from niwaki.methods.method import Method
from niwaki.methods.parts import Choose, Cut, Hold, Press, sequence
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

    The pressing phase takes at most ``every × (ceiling / grow + 1)`` steps.
    """
    return Method(
        "greg1",
        sequence(
            Choose(L1(), target),
            Press(Ridge(), Ramp(grow, every), ceiling=ceiling, parted=parted),
            Hold(hold),
            Cut(),
        ),
        DEPARTS,
    )
