"""Where the surviving weights of a matrix are: in few rows and columns, or everywhere alike. Light to import."""

from .chance import gini_by_chance, spread_by_chance
from .inequality import gini, spread
from .looking import look
from .pattern import Pattern, edges
from .summary import Summary, summary

__all__ = ["Pattern", "Summary", "edges", "gini", "gini_by_chance", "look", "spread", "spread_by_chance", "summary"]
