"""What a packed model is: layers that hold only what is left of their weights, and the record of how it came to be."""

from niwaki.packed.layer import PackedLinear
from niwaki.packed.matrices import is_linear, matrix
from niwaki.packed.places import attach, packing_of, rebuild
from niwaki.packed.record import Left, PackedLayer, Packing, Removed
from niwaki.packed.sizes import Sizes
from niwaki.packed.split import FORMS, Split, fullest, split

__all__ = [
    "FORMS",
    "Left",
    "PackedLayer",
    "PackedLinear",
    "Packing",
    "Removed",
    "Sizes",
    "Split",
    "attach",
    "fullest",
    "is_linear",
    "matrix",
    "packing_of",
    "rebuild",
    "split",
]
