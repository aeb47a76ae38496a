"""Methods that leave zeros in place of cutting: which they are, and what the report says of their networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch import nn

from niwaki.errors import BadInput
from niwaki.methods import Method
from niwaki.packing import packing_of
from niwaki.recipes.schema import Recipe
from niwaki.surgery.cut import plan_of
from niwaki.surgery.singles import single_weights
from niwaki.train.rehearsal import what_of


def leaves_zeros(method: Method) -> bool:
    """Does it prune single weights, and cut nothing?"""
    return what_of(method) == {"weights"}


def has_zeros_to_pack(recipe: Recipe, methods: Sequence[Method]) -> None:
    """Refuse ``pack`` where no method leaves zeros."""
    if recipe.pack and not any(map(leaves_zeros, methods)):
        found = ", ".join(method.name for method in methods)
        raise BadInput(f"pack is for methods that leave zeros, such as imp or spur, and {found} cuts. Leave it out.")


def packing_told(model: nn.Module) -> str:
    """What became of the zeros, in a line; the folder has the rest."""
    found = packing_of(model)
    assert found is not None
    forms = Counter(layer.form for layer in found.layers)
    told = ", ".join(f"{many} {form.replace('_', ' and ')}" for form, many in sorted(forms.items())) or "none"
    return f"Forms of the linear layers: {told}. {sum(each.count for each in found.removed)} dead units went."


def zeros_told(model: nn.Module) -> list[str]:
    """How many single weights are zero, if a method left zeros in place of cutting."""
    plan = plan_of(model)
    if plan is None or plan.removed:
        return []
    found = {name: weight == 0 for name, weight in single_weights(model).items()}
    gone = {name: mask for name, mask in found.items() if mask.any()}
    if not gone:
        return []
    share = sum(int(mask.sum()) for mask in gone.values()) / sum(mask.numel() for mask in gone.values())
    return [f"{share:.1%} of the weights of {len(gone)} tensors are zero. No tensor is smaller for that."]


__all__ = ["has_zeros_to_pack", "leaves_zeros", "packing_told", "zeros_told"]
