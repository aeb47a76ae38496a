"""How do we press? A penalty gives the gradient that it adds to a weight, before its factor."""

from niwaki.penalties.base import Penalty, Proximal, Summing
from niwaki.penalties.dealt import gradients
from niwaki.penalties.patterns import RowColumn, Unevenness
from niwaki.penalties.ridge import Lasso, Ridge

PENALTIES: dict[str, type] = {each.__name__: each for each in (Lasso, Ridge, RowColumn, Unevenness)}

__all__ = [
    "PENALTIES",
    "Lasso",
    "Penalty",
    "Proximal",
    "Ridge",
    "RowColumn",
    "Summing",
    "Unevenness",
    "gradients",
]
