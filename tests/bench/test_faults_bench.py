"""Jobs that are killed and started again end as if nothing had happened; and where they would not, it is seen."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from niwaki.bench.scale import faults_table as table
from niwaki.bench.scale.faults import SETTINGS, Cell, Order, damage
from niwaki.bench.scale.faults_job import METHODS, Exercise
from niwaki.errors import BadInput
from niwaki.methods.catalogue import METHODS as CATALOGUE
from niwaki.recipes.progress import Teller


class Stopped(Exception):
    pass


def stopped_and_gone_on(exercise: Exercise, folder: Path, at: int) -> str:
    """What a job ends with that stops behind its savepoint number ``at``."""
    saves = 0

    def signal(where: str) -> None:
        nonlocal saves
        saves += where == "e"
        if saves == at:
            raise Stopped

    with pytest.raises(Stopped):
        exercise.train(folder, signal)
    return exercise.train(folder)


def test_every_method_is_tried() -> None:
    assert set(METHODS) == set(CATALOGUE)
    assert set(SETTINGS["recipe"].methods) <= set(CATALOGUE)


@pytest.mark.parametrize("name", ["imp", "ispasp", "greg1"])
def test_what_a_job_forgets_is_seen(tmp_path: Path, name: str) -> None:
    method, steps = METHODS[name]
    whole = Exercise(method, steps).train(tmp_path / "whole")
    assert stopped_and_gone_on(Exercise(method, steps), tmp_path / "sound", 4) == whole
    for fault in ("optimizer", "count"):
        try:
            found = stopped_and_gone_on(Exercise(method, steps, fault=fault), tmp_path / fault, 4)
        except BadInput:
            continue
        assert found != whole, fault


@pytest.mark.skipif(not hasattr(os, "fork") or not dist.is_gloo_available(), reason="needs fork and gloo")
def test_jobs_that_are_killed_survive(tmp_path: Path) -> None:
    """kill -9 of a process, of one rank of two, of both, and of a recipe, at points that are drawn."""
    command = [
        sys.executable,
        "-m",
        "niwaki",
        "bench",
        "scale",
        "faults",
        "--out",
        str(tmp_path),
        "--trials",
        "2",
        "--method",
        "greg1",
    ]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(path.read_text()) for path in sorted(tmp_path.rglob("*.json"))]
    assert {each["setting"]["name"] for each in found} == set(SETTINGS)
    trials = [row for each in found for row in each["trials"]]
    assert len(trials) == 2 * len(SETTINGS)
    assert [row for row in trials if not row["survived"]] == []
    assert min(row["kills"] for row in trials) >= 1
    assert "2 ranks, FSDP2: 2 tried, 2 survived, 0 lost" in done.stdout


def test_a_job_that_ends_before_it_is_killed_is_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four jobs the second and the third are done before the kill comes; one that then ends otherwise is lost."""
    row = {"kind": "anywhere", "kills": 1, "writing": 0, "damaged": 0, "survived": True}
    ends = [row, {**row, "kills": 0}, {**row, "kills": 0, "survived": False, "why": "it ends otherwise"}, row]
    seeds = []

    class Played:
        whole = SimpleNamespace(seconds=1.0)

        def run(self, seed: str) -> dict[str, Any]:
            seeds.append(seed)
            return ends[len(seeds) - 1]

    cell = Cell(Order(tmp_path), SETTINGS["alone"], "greg1")
    monkeypatch.setattr(cell, "_begin", Played)
    cell.run(3, float("inf"), Teller(quiet=True))
    assert cell.found["trials"] == [ends[0], ends[2], ends[3]]
    assert cell.found["missed"] == 1
    assert seeds == [f"alone, greg1, {k}" for k in range(4)]


def test_damage_leaves_one_that_is_whole(tmp_path: Path) -> None:
    draw = random.Random(0)
    assert not damage(tmp_path, draw)
    torch.save({"a": 1}, tmp_path / "savepoint-000001.pt")
    assert not damage(tmp_path, draw), "there is none before it"
    torch.save({"a": 2}, tmp_path / "savepoint-000002.pt")
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    for _ in range(20):
        assert damage(tmp_path, draw)
        first, second = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
        assert first == before[0]
        assert second != before[1]
        (tmp_path / "savepoint-000002.pt").write_bytes(before[1])


@pytest.mark.parametrize("more", [{"methods": ("gregg1",)}, {"settings": ("alon",)}])
def test_unknown_names_are_told(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"did you mean '(greg1|alone)'"):
        Order(tmp_path, **more)


def test_the_table_counts_what_was_lost() -> None:
    row = {"kind": "anywhere", "kills": 2, "writing": 1, "damaged": 0, "survived": True}
    lost = {**row, "survived": False, "why": "it ends otherwise"}
    found = [
        {"setting": {"name": "alone"}, "method": "spur", "trials": [row], "missed": 3},
        {"setting": {"name": "alone"}, "method": "greg1", "trials": [row, lost], "missed": 0},
        {"setting": {"name": "ddp"}, "method": "greg1", "trials": [row], "missed": 1},
    ]
    assert table.rows(found) == [
        ["method", "one process", "2 ranks, DDP"],
        ["greg1", "1 of 2, 1 lost", "1 of 1"],
        ["spur", "1 of 1", ""],
    ]
    told = table.figures(found)["alone"]
    assert (told["tried"], told["survived"], told["lost"], told["kills"]) == (3, 2, 1, 6)
    assert told["missed"] == 3
    assert told["why"] == {"it ends otherwise": 1}
    assert "3 tried, 2 survived, 1 lost; 6 kills, 3 of them while" in table.sentence("alone", told)
