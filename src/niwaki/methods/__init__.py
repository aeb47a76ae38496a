"""Pruning methods as values: what to press, mask and cut, and when. A method's docstring is its card."""

from niwaki.methods.catalogue import METHODS, build
from niwaki.methods.codec import from_json, to_json
from niwaki.methods.controls import fixreg, random
from niwaki.methods.greg import greg1, greg2
from niwaki.methods.ispasp import ispasp
from niwaki.methods.magnitude import magnitude
from niwaki.methods.method import Method
from niwaki.methods.michel import Sensitive, michel
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
from niwaki.methods.recover import Recover
from niwaki.methods.selections import gfs, topk

__all__ = [
    "METHODS",
    "Choose",
    "Cut",
    "Hold",
    "Mask",
    "Method",
    "Part",
    "Press",
    "Recover",
    "Sensitive",
    "Sequence",
    "Spread",
    "Together",
    "Wait",
    "build",
    "fixreg",
    "from_json",
    "gfs",
    "greg1",
    "greg2",
    "ispasp",
    "magnitude",
    "michel",
    "random",
    "sequence",
    "to_json",
    "together",
    "topk",
]
