"""Which few units does a layer's output need? Sparse signal recovery, on plain tensors."""

from niwaki.recovery.compressible import Compressibility, compressibility, compressible, magnitude
from niwaki.recovery.greedy import Forming, Inner, Losses, Reusing, greedy, share
from niwaki.recovery.pursuit import Look, largest, pursue
from niwaki.recovery.selection import ispasp, looks, random, top_k
from niwaki.recovery.two_layer import TwoLayer, compensate

__all__ = [
    "Compressibility",
    "Forming",
    "Inner",
    "Look",
    "Losses",
    "Reusing",
    "TwoLayer",
    "compensate",
    "compressibility",
    "compressible",
    "greedy",
    "ispasp",
    "largest",
    "looks",
    "magnitude",
    "pursue",
    "random",
    "share",
    "top_k",
]
