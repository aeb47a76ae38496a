"""Comparisons of the literature, run again."""
