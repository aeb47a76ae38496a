"""The comparison of speed on a tiny network: cells are made once, ratios are what is counted, verdicts follow."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import niwaki as nk
from niwaki.bench import tables
from niwaki.bench.commands import bench
from niwaki.bench.speed import rival, study, subjects, table, verdicts, ways
from niwaki.bench.speed.cell import Cell, summary
from niwaki.bench.speed.importance import Importance
from niwaki.bench.speed.study import Study, read
from niwaki.bench.speed.subjects import Subject
from niwaki.errors import BadInput, BrokenFile, NiwakiError
from niwaki.recipes.progress import Teller
from niwaki.surgery.decide import plan

QUIET = Teller(quiet=True)
WIDTH = 64
DENSE = 2 * (32 * WIDTH + WIDTH * WIDTH + WIDTH * 8)
"""Multiply-adds of the tiny network at batch 2."""


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 8))


def crashes(name: str, goal: int, folder: Path) -> nn.Module:
    raise NiwakiError("it crashed")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The tiny network, with a target of parameters in place of latency, which a network so small cannot meet."""
    monkeypatch.setitem(subjects.SUBJECTS, "tiny", Subject("MLP", tiny, lambda batch: torch.ones(batch, 32)))
    monkeypatch.setattr(rival, "model", crashes)
    monkeypatch.setattr(ways, "Latency", lambda share, **settings: nk.Params(share, scope="global"))
    return Study(tmp_path, ("tiny",), ("pytorch",), (2,), runs=3)


def by_name(cell: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{row['way']} {row['goal']}x": row for row in cell["variants"]}


def test_ratios_are_of_the_multiply_adds_that_are_left(asked: Study) -> None:
    (cell,) = asked.run(QUIET)
    rows = by_name(cell)
    assert cell["dense"]["macs"] == DENSE
    for goal in (2, 4):
        for way in ("uniform", "macs", "latency", "even"):
            assert rows[f"{way} {goal}x"]["macs_ratio"] == DENSE / rows[f"{way} {goal}x"]["macs"]
        assert goal <= rows[f"uniform {goal}x"]["macs_ratio"] < 1.05 * goal
        assert goal <= rows[f"macs {goal}x"]["macs_ratio"] < 1.3 * goal
    # 41 of 64 and 42 of 64: every group alike, and no more than half.
    assert rows["uniform 2x"]["macs"] in {2 * (32 * a + a * b + b * 8) for a in (41, 42) for b in (41, 42)}


def test_a_cell_is_timed_in_rounds_and_says_how(asked: Study) -> None:
    (cell,) = asked.run(QUIET)
    assert (cell["network"], cell["runtime"], cell["batch"], cell["threads"], cell["rounds"]) == (
        "tiny", "pytorch", 2, 1, 3,
    )  # fmt: skip
    assert {len(times) for times in cell["rounds_ms"].values()} == {3}
    assert set(cell["rounds_ms"]) == {
        "dense",
        *(f"{w} {g}x" for w in ways.WAYS for g in (2, 4) if w != "torch-pruning"),
    }
    assert by_name(cell)["torch-pruning 4x"]["trouble"] == "it crashed"
    assert "over_even" in by_name(cell)["latency 2x"]


def test_even_widths_keep_no_more_than_the_plan_by_latency(asked: Study) -> None:
    rows = by_name(asked.run(QUIET)[0])
    for goal in (2, 4):
        mine, even = rows[f"latency {goal}x"]["importance"], rows[f"even {goal}x"]["importance"]
        assert 0 < even <= mine < 1


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.2])
def test_the_even_plan_is_the_largest_that_keeps_no_more(kept: float) -> None:
    graph = nk.trace(tiny().eval(), torch.ones(2, 32))
    importance = Importance(graph)
    shares = [importance.kept(plan(graph, nk.scores.L1(), nk.Ratio(k / 64, round_to=8))) for k in range(64)]
    assert importance.kept(importance.even(kept)) == max(share for share in shares if share <= kept)


def test_a_cell_that_is_there_is_not_made_again(asked: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    first = asked.run(QUIET)
    monkeypatch.setattr(Cell, "measured", lambda *_: pytest.fail("made twice"))
    assert replace(asked, runs=7).run(QUIET) == first == read(asked.out)
    (path,) = (asked.out / "cells").iterdir()
    path.rename(path.with_name(Cell("tiny", "pytorch", 1).file))
    with pytest.raises(BrokenFile, match="has another batch: 2, not 1"):
        replace(asked, batches=(1,)).run(QUIET)


def test_every_cell_is_kept_when_it_is_done(asked: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Cell.measured

    def once(cell: Cell, *arguments: Any) -> dict[str, Any]:
        if cell.batch == 1:
            raise KeyboardInterrupt
        return kept(cell, *arguments)

    monkeypatch.setattr(Cell, "measured", once)
    with pytest.raises(KeyboardInterrupt):
        replace(asked, batches=(2, 1)).run(QUIET)
    assert [cell["batch"] for cell in read(asked.out)] == [2]


def test_nothing_begins_when_the_time_is_up(asked: Study) -> None:
    assert replace(asked, minutes=-1).run(QUIET) == []
    assert read(asked.out) == []


def test_cells_of_most_worth_come_first(tmp_path: Path) -> None:
    cells = Study(tmp_path).cells
    assert len(cells) == len(set(cells)) == len({cell.file for cell in cells}) == 8 * 4 * 2
    assert [(cell.runtime, cell.batch) for cell in cells[::8]] == [
        ("onnxruntime", 1), ("openvino", 1), ("onnxruntime", 16), ("openvino", 16),
        ("pytorch", 1), ("pytorch", 16), ("compile", 1), ("compile", 16),
    ]  # fmt: skip


def test_latency_is_asked_of_the_runtime(asked: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def latency(share: float, **settings: Any) -> nk.Params:
        seen.append((share, settings))
        return nk.Params(share)

    monkeypatch.setattr(ways, "Latency", latency)
    made = ways.Ways("tiny", nk.trace(tiny().eval(), torch.ones(2, 32)), "openvino", asked.out)
    made.make("latency", 4)
    assert seen == [(0.25, {"runtime": "openvino", "threads": 1})]
    with pytest.raises(NiwakiError, match="no plan takes 1/2 of the time"):
        made.make("even", 2)


def timed_ways(**importance: float | None) -> dict[str, Any]:
    """The summary of cells in which all but the target of multiply-adds were timed."""
    variants = {"dense": {"macs": 8}} | {
        f"{way} 2x": {"way": way, "goal": 2, "macs_ratio": 2.0, "importance": importance.get(way)} for way in ways.WAYS
    }
    quick = {"latency": [5.0, 5.0, 30.0], "even": [10.0, 10.0, 15.0], "torch-pruning": [10.0, 20.0, 30.0]}
    return summary(variants, {"dense": [10.0, 20.0, 30.0], **{f"{way} 2x": ms for way, ms in quick.items()}})


def test_speed_is_the_median_of_pairs() -> None:
    found = timed_ways(latency=0.8, even=0.7)
    rows = by_name(found)
    latency, even = rows["latency 2x"], rows["even 2x"]
    assert (latency["speedup"], latency["ms"], latency["over_even"]) == (2, 5, 2)  # of medians it would be 4
    assert (even["speedup"], found["dense"]["ms"], found["rounds"]) == (2, 20, 3)
    assert "speedup" not in rows["macs 2x"]
    assert not any("over_even" in row for name, row in rows.items() if name != "latency 2x")


def test_even_widths_that_keep_more_are_no_rival() -> None:
    assert "over_even" not in by_name(timed_ways(latency=0.6, even=0.7))["latency 2x"]


def cell(**figures: float) -> dict[str, Any]:
    row = {"way": "latency", "goal": 2, "macs_ratio": 2.0, "importance": 0.9, **figures}
    away = {"way": "torch-pruning", "goal": 2, "trouble": "it hangs"}
    told = {"network": "ResNet-18", "runtime": "onnxruntime", "batch": 1, "threads": 1}
    return {**told, "dense": {"macs": 8}, "variants": [row, away]}


@pytest.mark.parametrize(("speedup", "met"), [(1.8, True), (1.79, False)])
def test_nine_tenths_of_the_ratio_are_the_goal(speedup: float, met: bool) -> None:
    found = cell(speedup=speedup)
    assert verdicts.reached(found["variants"][0]) is met
    first, _, last = verdicts.lines(found)
    assert first.endswith("0.9 of that: met" if met else "0.9 of that: not met")
    assert last == "ResNet-18, onnxruntime, batch 1, 2x, Torch-Pruning: not run: it hangs"
    said = f"0.9 of the ratio of multiply-adds in speed is met by: latency {int(met)} of 1."
    assert said in table.sums([found])
    assert not any("0.9" in line for line in table.sums([{**found, "runtime": "pytorch"}]))


@pytest.mark.parametrize(("speedup", "met"), [(1.91, True), (1.9, False)])
def test_a_plan_by_latency_takes_the_time_that_it_was_made_for(speedup: float, met: bool) -> None:
    """Within a twentieth: 1 / 1.91 is 0.524, of 0.525 that may be."""
    found = cell(speedup=speedup)
    assert verdicts.on_time(found["variants"][0]) is met
    assert list(verdicts.lines(found))[1].endswith("within 5%: met" if met else "within 5%: not met")
    said = f"Plans by latency that take the time they were made for, or less: within 5% {int(met)} of 1, strictly 0."
    assert table.sums([found])[1] == said


@pytest.mark.parametrize(("over", "met"), [(0.98, True), (0.96, False)])
def test_a_plan_by_latency_is_judged_beside_even_widths(over: float, met: bool) -> None:
    found = cell(speedup=2.0, over_even=over)
    assert verdicts.no_slower(found["variants"][0]) is met
    assert list(verdicts.lines(found))[2].endswith(": met" if met else ": not met")
    assert table.sums([found])[2].endswith(f"{int(met)} of 1.")


def test_the_table_tells_what_was_not_run() -> None:
    found, cells = cell(speedup=1.85), [Cell("ResNet-18", "onnxruntime", 1), Cell("ViT-B/16", "compile", 16)]
    head, *body = table.rows([found], cells)
    assert [row[:3] for row in body] == [
        ["ResNet-18", "onnxruntime, 1", "2×"], ["ResNet-18", "onnxruntime, 1", "4×"], ["ViT-B/16", "compile, 16", ""],
    ]  # fmt: skip
    assert body[0][3:] == ["not run", "not run", "1.85, 2.00", "not run", "latency", ""]
    assert body[2][3] == "not run"
    assert {len(row) for row in (head, *body)} == {9}
    assert table.reasons([found]) == ["not run: Torch-Pruning: it hangs (ResNet-18, onnxruntime, batch 1, 2×)"]
    assert tables.markdown([head, *body]).count("\n") == 4


def test_the_command_measures_and_prints(asked: Study) -> None:
    options = [
        "speed",
        "--network",
        "tiny",
        "--runtime",
        "pytorch",
        "--batch",
        "2",
        "--runs",
        "1",
        "--out",
        str(asked.out),
    ]
    done = CliRunner().invoke(bench, options, catch_exceptions=False)
    assert done.exit_code == 0
    assert "times as fast with" in done.stderr
    assert "Plans by latency no slower than even widths that keep no more" in done.stdout
    assert len(read(asked.out)) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"networks": ("ResNet-19",)}, "did you mean 'ResNet-18'"),
        ({"runtimes": ("onxruntime",)}, "did you mean 'onnxruntime'"),
        ({"batches": (0,)}, "at least 1 example, not 0"),
    ],
)
def test_what_is_not_known_is_told(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Study(tmp_path, **settings)


def hang(*_: Any, **settings: Any) -> Any:
    raise subprocess.TimeoutExpired("python", settings["timeout"])


def crash(*_: Any, **settings: Any) -> Any:
    return subprocess.CompletedProcess("python", -11, "", "")


def cannot(*_: Any, **settings: Any) -> Any:
    return subprocess.CompletedProcess("python", 0, 'a warning\n{"trouble": "no such layer"}\n', "")


@pytest.mark.parametrize(
    ("child", "said"),
    [(hang, "no answer in 180 s"), (crash, "the process ended with -11"), (cannot, "no such layer")],
)
def test_what_a_rival_breaks_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: Any, said: str
) -> None:
    monkeypatch.setattr(subprocess, "run", child)
    with pytest.raises(NiwakiError, match=said):
        rival.model("ResNet-18", 2, tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("asked twice"))
    with pytest.raises(NiwakiError, match=said):
        rival.model("ResNet-18", 2, tmp_path)


def test_a_rival_comes_near_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch_pruning")
    monkeypatch.setitem(subjects.SUBJECTS, "tiny", Subject("MLP", tiny, lambda batch: torch.ones(batch, 32)))
    found = rival.search("tiny", 2)
    left = rival.cut("tiny", found["ratio"])
    assert nk.measure.macs(left, torch.ones(2, 32)) / DENSE == pytest.approx(found["macs"])
    assert found["macs"] == pytest.approx(0.5, abs=0.03)


def test_the_time_is_up_only_between_cells(asked: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 61.0])
    monkeypatch.setattr(study.time, "monotonic", lambda: next(clock))
    assert [c["batch"] for c in replace(asked, batches=(2, 1), minutes=1).run(QUIET)] == [2]


def test_no_network_computes_numbers_that_are_nearly_zero() -> None:
    """Processors take many times as long for those, and a cut that avoids them would look quick."""
    made = subjects.subject("EfficientNet-B0")
    seen: list[float] = []

    def look(module: nn.Module, args: Any, out: Any) -> None:
        if isinstance(out, torch.Tensor):
            tiny = (out != 0) & (out.abs() < torch.finfo(torch.float32).tiny)
            seen.append(float(tiny.float().mean()))

    model = made.build()
    for module in model.modules():
        module.register_forward_hook(look)
    with torch.no_grad():
        model(made.inputs(1))
    assert len(seen) > 100
    assert max(seen) == 0
