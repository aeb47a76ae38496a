"""What a forecast says of whole plans: of even ones, at widths that kernels like and at others, and of any plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from niwaki.forecast.forecast import Forecast
from niwaki.forecast.likes import liked
from niwaki.scores import L1
from niwaki.surgery.decide import tried
from niwaki.targets import Ratio
from niwaki.units import Plan

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Removed, of all units."""
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Outlook:
    """A plan: its name, the share of the dense multiply-adds that it leaves, its milliseconds, and how many times as
    fast as the dense network that is."""

    name: str
    macs: float
    ms: float
    speedup: float

    @property
    def slower(self) -> bool:
        """Than the dense network, by more than rounding."""
        return self.speedup < 1 - _ROUNDING

    def to_json(self) -> dict[str, Any]:
        return {"plan": self.name, "macs": self.macs, "ms": self.ms, "speedup": self.speedup}


def outlook(forecast: Forecast, name: str, plan: Plan) -> Outlook:
    """What the forecast says of ``plan``."""
    graph = forecast.graph
    macs = graph.macs_without(plan.removed) / graph.macs()
    return Outlook(name, macs, forecast.ms(plan), forecast.speedup(plan))


def even(forecast: Forecast, shares: Iterable[float] = SHARES) -> list[tuple[Outlook, Outlook]]:
    """For each share removed from all groups: widths as they come, and rounded up to what kernels like."""
    multiple = usual(forecast)

    def one(share: float, round_to: int) -> Outlook:
        plan = tried(forecast.graph, L1(), Ratio(share, round_to=round_to))
        return outlook(forecast, f"{share:.0%} of all units", plan)

    return [(one(share, 1), one(share, multiple)) for share in shares]


def usual(forecast: Forecast) -> int:
    """The multiple of units that suits most: the median of what groups like that mind at all."""
    found = sorted(likes.multiple for likes in liked(forecast).values() if likes.multiple > 1)
    return found[len(found) // 2] if found else 1


def to_json(forecast: Forecast, plans: Mapping[str, Plan]) -> dict[str, Any]:
    """All of it as plain data."""
    return {
        "place": forecast.place.to_json(),
        "runtime": forecast.place.runtime,
        "dense_ms": forecast.dense_ms,
        "even": [{"as they come": a.to_json(), "rounded": b.to_json()} for a, b in even(forecast)],
        "plans": [outlook(forecast, name, plan).to_json() for name, plan in plans.items()],
        "widths": [
            {"group": name, "units": len(x.group), "multiple": x.multiple, "dearer": x.dearer, "layer": x.layer}
            for name, x in liked(forecast).items()
        ],
    }


__all__ = ["Outlook", "even", "outlook", "to_json", "usual"]
