"""Pruning methods as values: what to press, mask and cut, and when. A method's docstring is its card."""

from niwaki.methods.catalogue import METHODS, build
from niwaki.methods.codec import from_json, to_json
from niwaki.methods.controls import fixreg, random
from niwaki.methods.gradual import gradual, movement
from niwaki.methods.gradually import Gradually
from niwaki.methods.greg import greg1, greg2
from niwaki.methods.imp import imp
from niwaki.methods.ispasp import ispasp
from niwaki.methods.magnitude import magnitude
from niwaki.methods.method import Method
from niwaki.methods.michel import Sensitive, michel
from niwaki.methods.nm import nm
from niwaki.methods.parts import Choose, Cut, Hold, Mask, Part, Remember, Rewind, Wait
from niwaki.methods.press import Press, Spread
from niwaki.methods.recover import Recover
from niwaki.methods.regularize import Regularize
from niwaki.methods.selections import gfs, topk
from niwaki.methods.several import Sequence, Together, sequence, together
from niwaki.methods.spur import spur

__all__ = [
    "METHODS",
    "Choose",
    "Cut",
    "Gradually",
    "Hold",
    "Mask",
    "Method",
    "Part",
    "Press",
    "Recover",
    "Regularize",
    "Remember",
    "Rewind",
    "Sensitive",
    "Sequence",
    "Spread",
    "Together",
    "Wait",
    "build",
    "fixreg",
    "from_json",
    "gfs",
    "gradual",
    "greg1",
    "greg2",
    "imp",
    "ispasp",
    "magnitude",
    "michel",
    "movement",
    "nm",
    "random",
    "sequence",
    "spur",
    "to_json",
    "together",
    "topk",
]
