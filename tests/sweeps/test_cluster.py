"""Trials as tasks of a cluster, with a stand-in for Ray: what each task asks for, and what becomes of one that is lost.
With Ray itself: bench/sweep_ray.py, and one test here where it is installed and asked for."""

from __future__ import annotations

import os
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from niwaki.errors import NiwakiError
from niwaki.sweeps import Sweep, cluster
from niwaki.sweeps.cluster import OnCluster
from niwaki.sweeps.ledger import Outcome, write_outcome
from niwaki.sweeps.local import Local
from niwaki.sweeps.run import run
from niwaki.sweeps.schema import Cluster
from tests.sweeps.plots import carry_out, planted, swept, told
from tests.sweeps.test_run import networks


class Lost(Exception):
    """A worker died once too often."""


@dataclass(eq=False)
class Task:
    """What Ray gives back for a call."""

    function: Any
    words: tuple[Any, ...]


class FakeRay(types.ModuleType):
    """Runs a task when it is waited for."""

    def __init__(self, lost: str = "", refuse: bool = False) -> None:
        super().__init__("ray")
        self.exceptions = types.SimpleNamespace(RayError=Lost)
        self.lost, self.refuse, self.asked, self.canceled, self.up = lost, refuse, dict[str, Any](), list[Any](), False

    def is_initialized(self) -> bool:
        return self.up

    def init(self, address: str, **more: Any) -> None:
        if self.refuse:
            raise ConnectionError("nobody there")
        self.up = True
        self.asked["address"] = address

    def shutdown(self) -> None:
        self.up = False

    def remote(self, **wants: Any) -> Any:
        self.asked |= wants
        return lambda function: types.SimpleNamespace(remote=lambda *words: Task(function, words))

    def wait(self, left: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return left[:1], left[1:]

    def get(self, task: Any) -> Any:
        if self.lost and task.words[0].endswith(self.lost):
            raise Lost("the node is gone")
        return task.function(*task.words)

    def cancel(self, task: Any, force: bool) -> None:
        self.canceled.append(task)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 9.0, "GPU": 1.0}


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, dict[str, str]]]:
    """What each task was given; all end well."""
    found: list[tuple[str, int, dict[str, str]]] = []

    def run(self: Any, folder: Path, threads: int, more: dict[str, str]) -> Outcome:
        found.append((str(folder), threads, more))
        return Outcome(0, 2.0)

    monkeypatch.setattr(cluster.Processes, "run", run)
    return found


def test_each_trial_is_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carried: list[Any]) -> None:
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("NIWAKI_DATA", "/data")
    monkeypatch.setenv("HF_TOKEN", "hidden")
    ticks: list[int] = []
    made = [tmp_path / "a", tmp_path / "b"]
    runner = OnCluster(Cluster("10.0.0.1:6379", 2.0, 0.5, 4), threads=2)
    assert runner.workers == 2  # by the GPU; 4 by the cores
    found = list(runner(made, lambda: ticks.append(1)))
    assert found == [(one, Outcome(0, 2.0)) for one in made]
    assert ray.asked == {"address": "10.0.0.1:6379", "num_cpus": 2.0, "num_gpus": 0.5, "max_retries": 4}
    assert [(folder, threads) for folder, threads, _ in carried] == [(str(one.resolve()), 2) for one in made]
    assert all(more["NIWAKI_DATA"] == "/data" and not {"HOME", "HF_TOKEN"} & set(more) for _, _, more in carried)
    assert (len(ticks), ray.up, ray.canceled) == (2, False, [])


def test_a_task_that_is_lost_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carried: list[Any]) -> None:
    monkeypatch.setitem(sys.modules, "ray", FakeRay(lost="b"))
    (tmp_path / "b").mkdir()
    found = dict(OnCluster(Cluster("auto"), 1)([tmp_path / "a", tmp_path / "b"], lambda: None))
    assert found[tmp_path / "b"] == Outcome(1, 0.0, "Ray gave it up: the node is gone")
    assert not found[tmp_path / "a"].failed


def test_a_task_that_is_lost_stays_lost_in_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Any, folder: Path, threads: int, more: dict[str, str]) -> Outcome:
        carry_out(folder)
        write_outcome(folder, Outcome(0, 2.0))
        return Outcome(0, 2.0)

    monkeypatch.setattr(cluster.Processes, "run", run)
    monkeypatch.setitem(sys.modules, "ray", FakeRay(lost="seed1"))
    path = planted(tmp_path, seeds=2)
    found = swept(path, OnCluster(Cluster("auto"), 1))
    assert {name: one.said for name, one in found.failed.items()} == {
        "magnitude-ratio0.5-seed1": "Ray gave it up: the node is gone"
    }
    assert [trial["state"] for trial in told(tmp_path)["trials"]] == ["finished", "failed"]


def test_an_interruption_cancels_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carried: list[Any]
) -> None:
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    tasks = OnCluster(Cluster("auto"), 1)([tmp_path / "a", tmp_path / "b", tmp_path / "c"], lambda: None)
    next(tasks)
    tasks.close()
    assert [task.words[0][-1] for task in ray.canceled] == ["b", "c"]
    assert not ray.up


def test_no_cluster_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", FakeRay(refuse=True))
    with pytest.raises(NiwakiError, match=r"no Ray cluster answers at 'x:1' \(nobody there\); start one"):
        list(OnCluster(Cluster("x:1"), 1)([tmp_path], lambda: None))
    with pytest.raises(NiwakiError, match="no Ray cluster answers at 'x:1'"):
        run(Sweep.load(planted(tmp_path, ray="x:1")))
    assert not list(tmp_path.glob("swept/dense-*"))  # told before the dense network is built


@pytest.mark.skipif("NIWAKI_TEST_RAY" not in os.environ, reason="slow to start: set NIWAKI_TEST_RAY to an address")
def test_a_cluster_gives_what_this_machine_gives(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    recipe = {"finetune": {"epochs": 1}}
    swept(planted(tmp_path / "here", recipe, seeds=2), Local(2, 1))
    swept(planted(tmp_path / "there", recipe, seeds=2), OnCluster(Cluster(os.environ["NIWAKI_TEST_RAY"]), 1))
    assert networks(tmp_path / "here") == networks(tmp_path / "there")
