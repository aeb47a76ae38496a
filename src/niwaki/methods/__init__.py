"""Pruning methods as values: what to press, mask and cut, and when. A method's docstring is its card."""

from niwaki.methods.catalogue import METHODS, build
from niwaki.methods.codec import from_json, to_json
from niwaki.methods.greg import greg1
from niwaki.methods.magnitude import magnitude
from niwaki.methods.method import Method
from niwaki.methods.parts import (
    Choose,
    Cut,
    Hold,
    Mask,
    Part,
    Press,
    Sequence,
    Together,
    Wait,
    sequence,
    together,
)

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
    "Together",
    "Wait",
    "build",
    "from_json",
    "greg1",
    "magnitude",
    "sequence",
    "to_json",
    "together",
]
