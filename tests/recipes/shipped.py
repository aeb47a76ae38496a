"""Recipes that come with the project, carried out on tiny data."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from niwaki.recipes import Recipe
from niwaki.recipes.ingredients import build_model

RECIPES = Path(__file__).parents[2] / "recipes"
PICTURES = (
    "model_args.classes=3", "inputs=[[1, 3, 64, 64]]", "data_args={size: 4, side: 64, workers: 0}",
    "evaluate_args={side: 64, workers: 0}",
)  # fmt: skip
"""What makes a recipe of ImageNet one of three classes of small pictures."""


def dense_weights(recipe: Recipe, path: Path) -> Path:
    """A file of fresh weights of the recipe's network."""
    state = build_model(recipe.model, recipe.model_args).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def as_options(*changes: str) -> list[str]:
    """Changes of a recipe as on the command line."""
    return [word for change in changes for word in ("--set", change)]
