"""The section ``fast`` of a recipe: changes that make a shorter run of it, told old and new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from niwaki.errors import BadInput
from niwaki.recipes import checks
from niwaki.recipes.reading import at, put


@dataclass(frozen=True)
class Change:
    """One key of a recipe, what it said and what it says. ``old`` is None where the recipe said nothing."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key} {'default' if self.old is None else _shown(self.old)} → {_shown(self.new)}"


def quickened(data: dict[str, Any], where: str) -> tuple[dict[str, Any], tuple[Change, ...]]:
    """The recipe with the changes of its section ``fast`` made, and these changes.

    Its keys are paths as in ``--set``; what each leads to is replaced. ``where`` names the recipe in errors.

    Raises:
        BadInput: there is no such section, or a path leads nowhere.
    """
    wanted = checks.table("fast", data.get("fast") or {})
    if not wanted:
        raise BadInput(
            f"--fast: {where} has no section 'fast' that would say what is shorter; add one, for instance "
            "fast: {finetune.epochs: 2}, or leave --fast out"
        )
    changes = []
    for key, new in wanted.items():
        path, place = key.split("."), f"fast: {key}"
        changes.append(Change(key, at(data, path, place), new))
        data = put(data, path, new, place)
    return data, tuple(changes)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


__all__ = ["Change", "quickened"]
