"""How far what is pressed had parted from what stays when it went: a penalty can also come to nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from niwaki.methods.press import how_many, parting
from niwaki.methods.view import Of
from niwaki.scores import L1
from niwaki.train.view import EngineView
from niwaki.wording import some

logger = logging.getLogger("niwaki")

HARDLY = 2.0
"""Mean weight of what stays over that of what goes. The smallest half of any layer comes close to this unpressed."""


def parted(view: EngineView, of: Of) -> dict[str, float | None]:
    """Mean L1 norm of what stays over that of what is chosen, by group (tensor) that is pressed now. None where nothing
    is left of what is chosen, or nothing can be told."""
    pressed = [name for name, factor in view.pressure.items() if factor and how_many(view.chosen.get(name, ()))]
    worth = view.worth(L1(), of) if pressed else {}
    return {name: _ratio(*parting(worth[name], view.chosen[name])) for name in pressed}


def tell_if_hardly(method: str, parted: Mapping[str, float | None]) -> None:
    """Log what goes nearly as large as what stays."""
    hardly = {name: ratio for name, ratio in parted.items() if ratio is not None and ratio < HARDLY}
    if hardly:
        logger.warning(
            "%s: what goes has hardly been pressed in %d of %d (%s: on average what stays is %.1f times as large): the "
            "penalty is too weak, its steps too few, the learning rate too low, or they are lost in the type of the "
            "weights (bfloat16 without weights of finer type beside it)",
            method, len(hardly), len(parted), some([repr(name) for name in hardly]), min(hardly.values()),
        )  # fmt: skip


def _ratio(kept: float, gone: float) -> float | None:
    ratio = kept / gone if gone else math.inf
    return ratio if math.isfinite(ratio) else None


__all__ = ["HARDLY", "parted", "tell_if_hardly"]
