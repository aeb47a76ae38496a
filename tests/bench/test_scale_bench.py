"""The comparison of several processes: figures by hand, results made once, and a real start of processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from niwaki.bench.commands import bench
from niwaki.bench.scale import curves, launch, memory, steps, table
from niwaki.bench.scale.rank import main
from niwaki.bench.scale.study import Study, read
from niwaki.bench.scale.subjects import FOLLOWED, SUBJECTS, Subject
from niwaki.errors import BadInput, BrokenFile, NiwakiError
from niwaki.recipes.progress import Teller

QUIET = Teller(quiet=True)


def spent(*pairs: tuple[float, float]) -> list[list[float]]:
    return [list(pair) for pair in pairs]


RANKS = [
    {"ddp": {"plain": spent((1.0, 0.1), (1.2, 0.1)), "greg1": spent((1.1, 0.2), (1.2, 0.1))}},
    {"ddp": {"plain": spent((1.1, 0.1), (1.0, 0.1)), "greg1": spent((1.0, 0.1), (1.6, 0.3))}},
]
CURVES = {"plain": {"loss": [2.0, 1.0], "params": 7}, "greg1": {"loss": [2.0, 1.5], "params": 4}}


def test_the_slowest_rank_counts_and_the_engine_is_what_comes_after_the_backward_pass() -> None:
    """By hand: the slowest plain steps take 1.1 and 1.2 s, those of GReg-1 1.1 and 1.6; after the backward pass 0.1 s,
    and on the worse rank 0.2 on average: a tenth of a second more, of 1.15."""
    found = steps.figures(RANKS, batch=4)["ddp"]
    assert found["plain"] == pytest.approx({"step_s": 1.15, "samples_per_s": 8 / 1.15, "added": 0.0})
    assert found["greg1"] == pytest.approx({"step_s": 1.35, "samples_per_s": 8 / 1.35, "added": 0.1 / 1.15})


def test_the_loss_of_a_batch_is_the_mean_over_ranks_and_gaps_are_between_runs() -> None:
    ranks = [
        {"ddp": {"plain": {"loss": [2.0, 1.0], "params": 7}}},
        {"ddp": {"plain": {"loss": [4.0, 2.0], "params": 7}}},
    ]
    assert curves.together(ranks) == {"ddp": {"plain": {"loss": [3.0, 1.5], "params": 7}}}
    assert curves.gap([[3.0, 1.5], [3.25, 1.0]]) == 0.5


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Nothing is started; what would have been."""
    started = []

    def fake(work: str, order: dict[str, Any], processes: int) -> list[Any]:
        started.append((work, processes))
        return RANKS if work == "steps" else [{"ddp": CURVES}] * processes

    monkeypatch.setattr(launch, "launched", fake)
    return started


def test_what_was_measured_is_not_measured_again(faked: list[tuple[str, int]], tmp_path: Path) -> None:
    study = Study(tmp_path, ("ResNet-56",), (1, 2), runs=2, steps=2)
    first = study.timed(QUIET), study.followed(QUIET)
    assert faked == [("steps", 1), ("steps", 2), ("curves", 1), ("curves", 2)]
    assert (study.timed(QUIET), study.followed(QUIET)) == first
    assert len(faked) == 4
    assert read(tmp_path, "steps") == first[0]
    with pytest.raises(BrokenFile, match="has another runs: 2, not 3"):
        Study(tmp_path, ("ResNet-56",), (1,), runs=3).timed(QUIET)


def test_tables_say_what_is_added_whether_that_is_little_and_how_far_curves_are_apart(
    faked: list[tuple[str, int]], tmp_path: Path
) -> None:
    study = Study(tmp_path, ("ResNet-56",), (2,), runs=2, steps=2)
    (_, row) = table.added(study.timed(QUIET))
    assert row == ["ResNet-56", "2", "DDP", "1150 ms", f"{256 / 1.15:.1f}", "+8.70%"]
    assert table.verdict(study.timed(QUIET)) == "The engine adds 3% to a step at most in 0 of 1; the most is +8.7%."
    (_, *rows) = table.curves(study.followed(QUIET))
    assert rows == [["plain", "2.000 to 1.000", "0.0e+00", "7"], ["greg1", "2.000 to 1.500", "0.0e+00", "4"]]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"networks": ("ResNet-57",)}, "no network is called 'ResNet-57'.*ResNet-56"),
        ({"processes": (2, 0)}, "processes must be at least 1, not 0"),
        ({"runs": 0}, "runs must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said):
        Study(tmp_path, **wrong)


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))


TINY = Subject(
    tiny,
    lambda: torch.zeros(1, 8),
    lambda count, generator: torch.randn(count, 8, generator=generator),
    lambda model, x: nn.functional.cross_entropy(model(x), x[:, :2].argmax(1)),
    lambda model: [model.get_submodule("0")],
    batch=4,
)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun tells the only process that it starts; the networks are tiny."""
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    for name in ("ResNet-56", FOLLOWED):
        monkeypatch.setitem(SUBJECTS, name, TINY)


def done_by_a_rank(work: str, order: dict[str, Any], folder: Path) -> dict[str, Any]:
    (folder / "order.json").write_text(json.dumps(order))
    threads = torch.get_num_threads()
    try:
        main(work, str(folder / "order.json"), str(folder / "found.json"))
    finally:
        torch.set_num_threads(threads)
    (found,) = json.loads((folder / "found.json").read_text())
    return dict(found)


def test_a_rank_times_every_step_but_the_first_ones(alone: None, tmp_path: Path) -> None:
    found = done_by_a_rank("steps", {"network": "ResNet-56", "runs": 3}, tmp_path)
    assert set(found) == {"ddp", "fsdp2"}
    for by_method in found.values():
        assert {name: len(rows) for name, rows in by_method.items()} == dict.fromkeys(steps.METHODS, 3)
        assert all(0 < after < whole for rows in by_method.values() for whole, after in rows)


def test_a_rank_follows_runs_to_their_end(alone: None, tmp_path: Path) -> None:
    found = done_by_a_rank("curves", {"steps": curves.STEPS}, tmp_path)
    for wrap in ("ddp", "fsdp2"):
        runs = found[wrap]
        assert {name: len(row["loss"]) for name, row in runs.items()} == dict.fromkeys(curves.METHODS, curves.STEPS)
        assert {name: row["params"] for name, row in runs.items()} == {
            "plain": 8 * 16 + 16 + 16 * 2 + 2, "magnitude": 8 * 8 + 8 + 8 * 2 + 2, "greg1": 8 * 8 + 8 + 8 * 2 + 2,
            "spur": 8 * 16 + 16 + 16 * 2 + 2,
        }  # fmt: skip
        assert runs["plain"]["loss"] != runs["spur"]["loss"] != runs["greg1"]["loss"]
    assert curves.gap([found[wrap]["greg1"]["loss"] for wrap in ("ddp", "fsdp2")]) < 1e-5


def test_a_process_that_fails_is_told_of_with_what_it_said() -> None:
    with pytest.raises(NiwakiError, match=r"(?s)1 processes for curves ended with status 1.*KeyError: 'steps'"):
        launch.launched("curves", {}, 1)


def test_a_model_is_cut_by_the_command_and_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(memory.SIZES, "tiny", memory.Size(64, 128, 2, 4, 2, 99))
    order = memory.Memory(tmp_path, ("tiny",), tmp_path)
    (row,) = order.run(QUIET)
    attention, mlp = 64 * 64 * 2 + 64 * 32 * 2, 3 * 64 * 128
    assert row["params"] == 2 * (attention + mlp + 2 * 64) + 2 * 99 * 64 + 64
    assert 0.6 < row["params_left"] / row["params"] <= 0.7
    assert 0.1 < row["peak_gb"] < 4  # torch alone takes more than 0.1
    assert [path.name for path in tmp_path.iterdir()] == ["memory"]  # the checkpoints are gone
    monkeypatch.setattr(memory, "measured", None)
    assert order.run(QUIET) == [row]


def test_time_is_held_against_a_line_and_memory_against_the_limit() -> None:
    """By hand: 1 s per billion from 1 s on, but for a third point that is half a second late."""
    rows = [{"params": n * 10**9, "seconds": s, "peak_gb": p} for n, s, p in ((1, 2.0, 1), (2, 3.0, 7), (3, 4.5, 9))]
    found = memory.figures(rows)
    assert found["seconds_per_billion"] == pytest.approx(1.25)
    assert found["worst_off_the_line"] == pytest.approx(1 / 19)  # the second point is 1/6 s below 19/6 s
    assert not found["within_limit"]
    assert memory.figures(rows[:2]) == {"limit_gb": 8.0, "within_limit": True}


def test_a_size_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no size is called '4 B'.*Known: 0\.4 B"):
        memory.Memory(tmp_path, ("4 B",))


def test_a_cut_that_fails_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LEFT", -1)
    with pytest.raises(NiwakiError, match=r"(?s)-m niwaki cut ended with status \d+:.*Params"):
        memory.measured(memory.Size(64, 128, 2, 4, 2, 99), tmp_path)


def test_the_commands(faked: list[tuple[str, int]], tmp_path: Path) -> None:
    done = CliRunner().invoke(bench, ["scale", "steps", "--processes", "2", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "0 of 2; the most is +8.7%" in done.output
    done = CliRunner().invoke(bench, ["scale", "curves", "--processes", "2", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "2.000 to 1.500" in done.output
