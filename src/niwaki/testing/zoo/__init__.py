"""Tiny networks that each break one assumption, with what an honest coupling graph must say of them."""

from niwaki.testing.zoo.nursery import Specimen
from niwaki.testing.zoo.table import ZOO, specimen, zoo

__all__ = ["ZOO", "Specimen", "specimen", "zoo"]
