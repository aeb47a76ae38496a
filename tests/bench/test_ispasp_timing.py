"""The time to prune one block: every cell once, all on the same samples, and the table as by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from niwaki.bench.ispasp import plots, show, table, timing
from niwaki.bench.ispasp.timing import TIMED, Timing
from niwaki.cli import main
from niwaki.errors import BadInput, BrokenFile
from niwaki.recipes.progress import Teller

QUIET = Teller(quiet=True)


@pytest.fixture(autouse=True)
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(timing.SIDES, 8, 5)


def order(folder: Path, **changes: Any) -> Timing:
    return Timing(folder, **{"channels": (8,), "kept": (0.25, 0.5), "samples": 2, "repeats": 2, **changes})


def test_every_contestant_prunes_the_block_and_is_timed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = order(tmp_path).run(QUIET)
    assert [(e["contestant"], e["kept"], e["left"]) for e in found] == [
        (name, kept, round(8 * kept)) for name in TIMED for kept in (0.25, 0.5)
    ]
    assert all(len(e["core_s"]) == 2 and min(e["core_s"]) > 0 for e in found)
    monkeypatch.setattr(timing, "prune", None)  # what is there is read
    assert order(tmp_path).run(QUIET) == found
    assert sorted(timing.read(tmp_path), key=str) == sorted(found, key=str)


def test_all_are_given_the_same_block_and_samples(tmp_path: Path) -> None:
    (block, images), (other, others) = (order(tmp_path).block(8) for _ in range(2))
    assert torch.equal(images, others)
    assert torch.equal(block.conv1.weight, other.conv1.weight)
    assert images.shape == (2, 8, 5, 5)
    assert images.min() == 0
    assert not torch.equal(order(tmp_path, seed=1).block(8)[1], images)


def test_cells_of_other_samples_are_refused(tmp_path: Path) -> None:
    asked = {"contestants": ("ispasp",), "kept": (0.5,)}
    order(tmp_path, **asked).run(QUIET)
    with pytest.raises(BrokenFile, match="is of 2 samples; remove it"):
        order(tmp_path, samples=3, **asked).run(QUIET)


def test_what_is_unknown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no contestant is called 'gfs 5'; did you mean 'gfs 50'"):
        order(tmp_path, contestants=("gfs 5",))
    with pytest.raises(BadInput, match="no block is called 7"):
        order(tmp_path, channels=(7,))


def results() -> list[dict[str, Any]]:
    times = {("ispasp", 0.2): [1.0, 2.0, 3.0], ("gfs", 0.2): [100.0], ("ispasp", 0.4): [2.0]}
    return [{"channels": 512, "contestant": name, "kept": kept, "core_s": s} for (name, kept), s in times.items()]


def test_the_table_by_hand() -> None:
    rows = table.times(results())
    assert rows[0] == ["channels", "chosen by", "20% kept: s, ratio (paper)", "40% kept: s, ratio (paper)"]
    assert rows[1] == ["512", "i-SpaSP", "2, 1× (1×)", "2, 1× (1×)"]
    assert rows[2] == ["512", "greedy, all candidates", "100, 50× (637×)", ""]
    assert len(rows) == 3


def test_the_plot_is_the_same_for_the_same() -> None:
    assert plots.times(results()) == plots.times(results())


def test_the_command_runs(tmp_path: Path) -> None:
    words = ["bench", "ispasp", "time", "--channels", "8", "--kept", "0.5", "--contestant", "ispasp", "--images", "2"]
    told = CliRunner().invoke(main, [*words, "--out", str(tmp_path)])
    assert told.exit_code == 0, told.output
    assert "i-SpaSP" in told.output
    assert (tmp_path / "timing.md").read_text().count("\n") == 3
    assert (tmp_path / "timing.svg").read_text().startswith("<svg")
    (kept,) = (tmp_path / "timing").iterdir()
    assert json.loads(kept.read_text())["left"] == 4


def test_two_plots_are_of_two_blocks(tmp_path: Path) -> None:
    show.timed(order(tmp_path, contestants=("ispasp",)), QUIET)
    assert "channels kept of 8" in (tmp_path / "timing.svg").read_text()
