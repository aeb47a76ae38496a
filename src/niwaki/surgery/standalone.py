"""What a folder needs to be loaded without niwaki: the numbers that its modules have now, and a short loader."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from niwaki.packed import PackedLinear
from niwaki.replacing import replacing
from niwaki.surgery import alone
from niwaki.surgery.beside import held_beside
from niwaki.surgery.modules import followers
from niwaki.units import Plan

MODULES, LOADER = "modules.json", "load.py"

logger = logging.getLogger("niwaki")


def write_loader(small: nn.Module, plan: Plan, folder: Path) -> None:
    """Write both files; or, where they would not do, neither, and say why in the log."""
    why = _insufficient(small, plan)
    if why:
        logger.info("%s has no loader of its own: %s. Load it with nk.load.", folder, why)
        for name in (MODULES, LOADER):
            (folder / name).unlink(missing_ok=True)
        return
    with replacing(folder / MODULES) as part:
        part.write_text(json.dumps(numbers_of(small, plan), indent=1) + "\n", encoding="utf-8")
    with replacing(folder / LOADER) as part:
        part.write_text(Path(alone.__file__).read_text(encoding="utf-8"), encoding="utf-8")


def _insufficient(small: nn.Module, plan: Plan) -> str:
    """Why tensors and whole numbers alone do not make the network; empty if they do."""
    if foreign := bound(small):
        return f"{foreign} computes by niwaki's code"
    for name, function in followers(small, plan.removed):
        if not _is_ours(function):  # it may set anything
            return f"{name or type(small).__name__} follows a cut by an adapter of your own"
    lost = {id(t) for n, t in [*small.named_parameters(), *small.named_buffers()] if _loses(plan, n)}
    for held in held_beside(small):
        # Recurrent layers of torch exchange their flat list themselves.
        if id(held.tensor) in lost and not held.place.endswith("_flat_weights"):
            return f"{held.place} holds a tensor beside the parameters"
    return ""


def numbers_of(small: nn.Module, plan: Plan) -> dict[str, dict[str, Any]]:
    """The whole numbers, and tuples of such, of every module that lost entries, and of all around those."""
    found: dict[str, dict[str, Any]] = {}
    touched = {axis.name.rpartition(".")[0] for axis in plan.removed}
    touched |= {other.rpartition(".")[0] for other, first in plan.aliases.items() if _loses(plan, first)}
    touched |= {name for name, _ in plan.numbers}
    around = {name[: k + 1].rstrip(".") for name in touched for k, c in enumerate(name) if c == "."} | {""}
    for name, module in small.named_modules(remove_duplicate=False):
        if name in touched | around and (numbers := dict(_numbers(module))):
            found[name] = numbers
    for (name, attribute), (_, after) in plan.numbers.items():
        if attribute.startswith("config."):
            found.setdefault(name, {})[attribute] = after
    return found


def _loses(plan: Plan, name: str) -> bool:
    return any(axis.name == name for axis in plan.removed)


def _numbers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        whole = type(value) is int or (type(value) is tuple and value and all(type(x) is int for x in value))
        if whole and not name.startswith("_"):
            yield name, value


def bound(small: nn.Module) -> str:
    """The first module that is niwaki's, or that it gave a forward pass; empty if there is none."""
    for name, module in small.named_modules():
        own = vars(module).get("forward")
        if isinstance(module, PackedLinear) or _is_ours(type(module)) or (own is not None and _is_ours(own)):
            return name or type(module).__name__
    return ""


def _is_ours(thing: Any) -> bool:
    home = getattr(getattr(thing, "__func__", thing), "__module__", None) or ""
    return home.partition(".")[0] == "niwaki" and not home.startswith(
        ("niwaki.testing", "niwaki.vision", "niwaki.demo")
    )


__all__ = ["LOADER", "MODULES", "bound", "numbers_of", "write_loader"]
