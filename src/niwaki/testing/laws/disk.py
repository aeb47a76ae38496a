"""The law of the round trip: a pruned model comes back from disk, in a fresh process, bit for bit."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from niwaki.graph.observe import Inputs
from niwaki.scores import Random
from niwaki.surgery.cut import cut
from niwaki.surgery.decide import plan as choose
from niwaki.surgery.store import save
from niwaki.targets import Ratio
from niwaki.testing.laws.sameness import answers
from niwaki.testing.laws.verdict import LawBroken, attempting, demand, first_difference
from niwaki.tracing import trace
from niwaki.units import Plan

INPUTS, ANSWERS, CASES, PLAN = "inputs.pt", "answers.pt", "cases.json", "plan.json"


def plan_round_trips(model_builder: str, inputs: Inputs, folder: str | os.PathLike[str], ratio: float = 0.4) -> None:
    """A plan read from disk equals the one written, and a saved model, loaded by a fresh process into a fresh instance
    of its class, answers bit for bit as the one that was saved.

    Args:
        model_builder: ``"module:function"``, importable; the function takes nothing and gives the dense model. It is
            called in both processes and may give other weights each time.
        inputs: as for :func:`niwaki.trace`; tensors and plain data. folder: scratch space.

    Raises:
        LawBroken: with what differs.
    """
    plans_round_trip({model_builder: inputs}, folder, ratio)


def plans_round_trip(cases: Mapping[str, Inputs], folder: str | os.PathLike[str], ratio: float = 0.4) -> None:
    """:func:`plan_round_trips` for many builders at the price of one process."""
    folders: dict[str, Path] = {}
    plans: dict[str, Plan] = {}
    for number, (builder, inputs) in enumerate(cases.items()):
        folders[builder] = Path(folder) / str(number)
        folders[builder].mkdir(parents=True)
        with attempting(f"cutting and saving {builder}"):
            plans[builder] = _write(builder, inputs, folders[builder], ratio)
    _in_a_fresh_process(folders, Path(folder))
    for builder, place in folders.items():
        written, read = (torch.load(place / f"{who}-{ANSWERS}", weights_only=True) for who in ("saved", "loaded"))
        where = first_difference(written, read)
        demand(where is None, f"{builder}: after save and load in a fresh process the answers differ at {where}")
        read = Plan.load(place / PLAN)
        demand(read == plans[builder], f"{builder}: {_other(plans[builder], read)}")


def build(builder: str) -> nn.Module:
    """The model of a ``"module:function"`` path."""
    module, _, function = builder.partition(":")
    model = getattr(importlib.import_module(module), function)()
    assert isinstance(model, nn.Module), f"{builder} gave a {type(model).__name__}, not a model"
    return model


def _write(builder: str, inputs: Inputs, folder: Path, ratio: float) -> Plan:
    model = build(builder)
    plan = choose(trace(model, inputs), Random(0), Ratio(ratio))
    demand(bool(plan.removed), f"{builder}: no unit went, so the law was not tried")
    plan.save(folder / PLAN)
    small = cut(model, plan)
    save(small, folder / "small")
    torch.save(inputs, folder / INPUTS)
    torch.save(answers(small, inputs), folder / f"saved-{ANSWERS}")
    return plan


def _other(plan: Plan, read: Plan) -> str:
    """How the plan that was read is another."""
    fields = [f.name for f in dataclasses.fields(Plan) if getattr(plan, f.name) != getattr(read, f.name)]
    return f"the plan read from disk is not the plan that was written; these fields are not equal: {fields}"


def _in_a_fresh_process(folders: Mapping[str, Path], folder: Path) -> None:
    cases = folder / CASES
    cases.write_text(json.dumps({builder: str(place) for builder, place in folders.items()}), encoding="utf-8")
    command = [sys.executable, "-m", "niwaki.testing.laws.reload", str(cases)]
    paths = os.pathsep.join(p or os.curdir for p in sys.path)
    # Threads decide how sums are split, and so the last bits.
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths, **threads}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LawBroken(f"loading in a fresh process failed:\n{done.stderr.strip()}")
