"""How fast will it be? Layers timed alone at a ladder of widths foretell every plan's latency, before any training."""

from niwaki.forecast.forecast import Forecast, profile

__all__ = ["Forecast", "profile"]
