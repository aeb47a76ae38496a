"""Pruning methods as values: what to press, mask and cut, and when. A method's docstring is its card."""

from niwaki.methods.catalogue import METHODS, build
from niwaki.methods.codec import from_json, to_json
from niwaki.methods.controls import fixreg, random
from niwaki.methods.greg import greg1, greg2
from niwaki.methods.magnitude import magnitude
from niwaki.methods.method import Method
from niwaki.methods.parts import (
    Choose,
    Cut,
    Hold,
    Mask,
    Part,
    Sequence,
    Together,
    Wait,
    sequence,
    together,
)
from niwaki.methods.press import Press, Spread

__all__ = [
    "METHODS",
    "Choose",
    "Cut",
    "Hold",
    "Mask",
    "Method",
    "Part",
    "Press",
    "Sequence",
    "Spread",
    "Together",
    "Wait",
    "build",
    "fixreg",
    "from_json",
    "greg1",
    "greg2",
    "magnitude",
    "random",
    "sequence",
    "to_json",
    "together",
]
