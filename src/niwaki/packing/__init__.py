"""Packing: zeros that masks left behind become smaller products, where that is faster and changes nothing."""

from niwaki.packed import FORMS, Left, PackedLayer, PackedLinear, Packing, Removed, packing_of
from niwaki.packing.certificate import certify_packed
from niwaki.packing.whole import pack

__all__ = [
    "FORMS",
    "Left",
    "PackedLayer",
    "PackedLinear",
    "Packing",
    "Removed",
    "certify_packed",
    "pack",
    "packing_of",
]
