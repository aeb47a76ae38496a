"""The law of the folder: what ``from_pretrained`` of transformers reads is the cut model, bit for bit."""

from __future__ import annotations

import copy
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from niwaki.graph import Graph
from niwaki.graph.observe import Inputs
from niwaki.scores import Random
from niwaki.surgery.cut import plan_of
from niwaki.surgery.decide import plan as choose
from niwaki.surgery.store import save
from niwaki.targets import Ratio
from niwaki.testing.laws.sameness import answers
from niwaki.testing.laws.verdict import LawBroken, attempting, demand, first_difference
from niwaki.units import Plan


def uneven_plan(graph: Graph, ratio: float = 0.4, seed: int = 0) -> Plan:
    """Units at random that compete over all groups, so that layers end up with different sizes."""
    return choose(graph, Random(seed), Ratio(ratio, scope="global"))


def folder_loads(small: Any, inputs: Inputs, folder: str | os.PathLike[str], **settings: Any) -> None:
    """A cut model of transformers that :func:`niwaki.save` wrote is read by ``from_pretrained`` of its class; what came
    back is written by ``save_pretrained`` and read again. All three answer alike, bit for bit.

    They do so with tensors in memory of their own. ``from_pretrained`` leaves them where the file is mapped, at
    addresses for which kernels add in another order, and the last bit of an answer may be another.

    Args:
        small: after the cut. folder: scratch space. settings: for ``from_pretrained``: what no config keeps.

    Raises:
        LawBroken: with what differs, or why it cannot be loaded.
    """
    place, kind, wanted = Path(folder), type(small), answers(small, inputs)
    save(small, place / "first")
    demand(plan_of(small) is not None and refusal(place / "first") == "", f"refused: {refusal(place / 'first')}")
    with attempting(f"loading {kind.__name__} from its folder"), _quiet():
        back = kind.from_pretrained(place / "first", **settings)
        _same(wanted, back, inputs, "after from_pretrained")
        back.save_pretrained(place / "second")
        _same(wanted, kind.from_pretrained(place / "second", **settings), inputs, "after save_pretrained")


def refusal(folder: Path) -> str:
    """Why the folder cannot be read by ``from_pretrained``; empty if it can."""
    said = told(folder) or {}
    return str(said.get("refused", ""))


def told(folder: Path) -> dict[str, Any] | None:
    """The ``quantization_config`` in a folder; None where an ordinary config says all."""
    found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config")
    return None if found is None else dict(found)


def _same(wanted: Any, model: nn.Module, inputs: Inputs, when: str) -> None:
    where = first_difference(wanted, answers(copy.deepcopy(model), inputs))
    if where is not None:
        raise LawBroken(f"{type(model).__name__}: {when} the answers differ at {where}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' reports of loading."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


__all__ = ["folder_loads", "refusal", "told", "uneven_plan"]
