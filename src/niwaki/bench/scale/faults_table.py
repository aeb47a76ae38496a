"""The table of the trials: tried, survived, lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from niwaki.bench.results import Result
from niwaki.bench.tables import Rows
from niwaki.methods.catalogue import METHODS

NAMES = {"alone": "one process", "ddp": "2 ranks, DDP", "fsdp": "2 ranks, FSDP2", "recipe": "`niwaki prune --resume`"}


def rows(found: Sequence[Result]) -> Rows:
    """By method and setting how many jobs were tried, with those that were lost where there are any."""
    settings = [name for name in NAMES if any(each["setting"]["name"] == name for each in found)]
    cells = {(each["method"], each["setting"]["name"]): _cell(each["trials"]) for each in found}
    tried = {each["method"] for each in found}
    methods = [name for name in METHODS if name in tried]
    body = [[name, *(cells.get((name, setting), "") for setting in settings)] for name in methods]
    return [["method", *(NAMES[setting] for setting in settings)], *body]


def _cell(trials: Sequence[dict[str, Any]]) -> str:
    lost = sum(not row["survived"] for row in trials)
    return f"{len(trials) - lost} of {len(trials)}" + (f", {lost} lost" if lost else "")


def figures(found: Sequence[Result]) -> dict[str, Any]:
    """By setting: trials, survived, lost and why, kills, those that fell into the writing of a file, damaged files."""
    told: dict[str, Any] = {}
    for name in NAMES:
        trials = [row for each in found if each["setting"]["name"] == name for row in each["trials"]]
        if not trials:
            continue
        lost = [row for row in trials if not row["survived"]]
        told[name] = {
            "tried": len(trials),
            "survived": len(trials) - len(lost),
            "lost": len(lost),
            "why": dict(Counter(row["why"] for row in lost)),
            "missed": sum(each["missed"] for each in found if each["setting"]["name"] == name),
            "least_per_method": min(len(each["trials"]) for each in found if each["setting"]["name"] == name),
            "kills": sum(row["kills"] for row in trials),
            "kills_while_writing": sum(row["writing"] for row in trials),
            "files_damaged": sum(row["damaged"] for row in trials),
        }
    return told


def sentence(name: str, told: dict[str, Any]) -> str:
    """Of one setting."""
    return (
        f"{NAMES[name]}: {told['tried']:,} tried, {told['survived']:,} survived, {told['lost']:,} lost; "
        f"{told['kills']:,} kills, {told['kills_while_writing']:,} of them while a file was written, "
        f"{told['files_damaged']:,} files damaged afterwards"
    )


__all__ = ["NAMES", "figures", "rows", "sentence"]
