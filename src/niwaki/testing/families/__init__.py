"""Architectures that people use, tiny and in their published size, with what should be prunable in each.

The zoo asks whether a coupling graph is right; the families ask whether it is enough. Those tagged
``needs_transformers`` import that library when they are built, and not before.
"""

from niwaki.testing.families.family import Family
from niwaki.testing.families.table import FAMILIES, families, family

__all__ = ["FAMILIES", "Family", "families", "family"]
