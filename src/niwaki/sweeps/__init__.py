"""Sweeps: one YAML file asks for many runs of a recipe, which end in one table. Light to import: no torch yet."""

from niwaki.sweeps.schema import Sweep

__all__ = ["Sweep"]
