"""Recipes: one YAML file says which model to prune, how, and what to measure. Light to import: no torch yet."""

from niwaki.recipes.schema import Finetune, Measure, MethodChoice, OptimizerChoice, Recipe

__all__ = ["Finetune", "Measure", "MethodChoice", "OptimizerChoice", "Recipe"]
