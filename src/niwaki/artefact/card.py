"""``README.md``: the model card, in Markdown with a head of YAML, from what is known and lies in the folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from niwaki import __version__
from niwaki.artefact.documents import read_object, write_text
from niwaki.artefact.figures import Row, figures, headline
from niwaki.artefact.names import CARD, PURPOSES, RECIPE
from niwaki.surgery.store import CONFIG, PLAN
from niwaki.units import Plan

if TYPE_CHECKING:
    from niwaki.artefact.deliver import Story

_MOST = 60  # rows of the table of what was removed


def write_card(folder: Path, story: Story) -> None:
    """Write the card of a folder whose other files are there already."""
    write_text(folder / CARD, render(folder, story))


def render(folder: Path, story: Story) -> str:
    """The card as text."""
    plan = Plan.load(folder / PLAN)
    removed = _removed(plan)
    present = {path.name for path in folder.iterdir() if path.is_file()}
    return _template().render(
        head=_head(story), story=story, origin=story.origin, version=__version__, figures=figures(story.measurements),
        headline=headline(story.measurements), removed=removed[:_MOST], more=len(removed) - _MOST,
        by_group=bool(plan.choices), checks=_checks(story.certificate), files=_files(present), present=present,
        machine=story.measurements and story.measurements.to_json()["machine"],
        recipe=None if story.recipe is None else fenced(recipe_text(story.recipe)), recipe_file=RECIPE,
        registered=_is_registered(folder),
    )  # fmt: skip


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """A recipe as YAML."""
    text: str = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
    return text


def fenced(text: str, language: str = "yaml") -> str:
    """A block of code, in a fence longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _head(story: Story) -> str:
    origin = story.origin
    head: dict[str, Any] = {"library_name": origin.library, "tags": ["pruned", "niwaki"]}
    head |= {"base_model": origin.base_model} if origin.base_model else {}
    head |= {"license": origin.license} if origin.license else {}
    text: str = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    return text.rstrip()


def _removed(plan: Plan) -> list[Row]:
    """Per group: its units before and after. Of a plan that was made in several steps, per dimension of a tensor."""
    if plan.choices:
        return [(name, c.kind, f"{c.size:,}", f"{c.kept:,}") for name, c in plan.choices.items() if c.removed]
    sizes = ((a, plan.tensors[a.name][a.dim], len(gone)) for a, gone in plan.removed.items() if gone)
    return [(axis.name, f"dimension {axis.dim}", f"{n:,}", f"{n - gone:,}") for axis, n, gone in sizes]


def _checks(certificate: Mapping[str, Any] | None) -> list[Row]:
    return [_check(each) for each in certificate["checks"]] if certificate else []


def _check(each: Mapping[str, Any]) -> Row:
    worst = "not comparable" if each["worst"] is None else f"{each['worst']:.1e}"
    holds = "yes" if each["holds"] else "**NO**"
    return (
        f"{each['name']} = {each['against']}",
        each["kind"],
        worst,
        f"{each['tolerance']:.0e}",
        holds,
        each["detail"],
    )


def _files(present: set[str]) -> list[Row]:
    return [(name, purpose) for name, purpose in PURPOSES.items() if name in present]


def _is_registered(folder: Path) -> bool:
    """Does the config ask transformers for niwaki, which then cuts the model that it builds?"""
    if not (folder / CONFIG).is_file():
        return False
    asked = read_object(folder / CONFIG).get("quantization_config")
    return isinstance(asked, dict) and asked.get("quant_method") == "niwaki"


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    # Markdown, not HTML: nothing is escaped but what would break a row of a table.
    environment = Environment(autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(row=_row, python=repr)
    text = (resources.files(__package__) / "templates" / "card.md.j2").read_text(encoding="utf-8")
    return environment.from_string(text)


def _row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in cells) + " |"


__all__ = ["fenced", "recipe_text", "render", "write_card"]
