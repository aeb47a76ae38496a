"""What a sweep tells while it runs: counts, the time left by hand, lines for a log and bars for a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from niwaki.recipes.progress import Teller
from niwaki.sweeps import Sweep
from niwaki.sweeps.grid import expand
from niwaki.sweeps.ledger import Ledger, Outcome, Status, status_of, write_status
from niwaki.sweeps.live import Count, watching
from tests.sweeps.plots import planted


def paths(folder: Path, *names: str) -> list[Path]:
    made = [folder / name for name in names]
    for one in made:
        one.mkdir()
    return made


def test_the_time_left_by_hand(tmp_path: Path) -> None:
    """Two workers. Magnitude took 10 and 20 s; nothing is known of GReg, so that it counts the mean of all, 15 s."""
    a, b, c, d, e = paths(tmp_path, *"abcde")
    count = Count(5, 2, {a: "magnitude", b: "magnitude", c: "magnitude", d: "greg1", e: "greg1"})
    assert count.left([a, b, c, d, e], {}) is None
    count.add(a, Outcome(0, 10.0))
    count.add(b, Outcome(0, 20.0))
    # Waiting: 15 + 15; under way: 15 - 5; together 40 over 2 workers.
    assert count.left([c, d], {e: 5.0}) == pytest.approx(20.0)
    # One alone cannot be shared; one that takes longer than the others did has no time left that is known.
    assert count.left([], {c: 1.0}) == pytest.approx(14.0)
    assert count.left([], {c: 99.0}) == 0.0
    count.add(c, Outcome(-9, 1000.0))
    assert count.left([], {d: 0.0}) == pytest.approx(15.0)  # a crash tells nothing of how long a trial takes
    assert str(count) == "2 finished, 1 failed, 2 left"


def test_without_a_terminal_a_line_for_each_that_ends(tmp_path: Path) -> None:
    a, b = paths(tmp_path, "a", "b")
    console = Console(file=io.StringIO(), width=200, highlight=False)
    with watching([a, b], Count(2, 1, {a: "m", b: "m"}), Teller(console)) as view:
        view.tick()
        view.end(a, Outcome(0, 12.4))
        view.end(b, Outcome(-9, 3.0, "step 1\nstep 2"))
    assert console.file.getvalue().splitlines() == [
        "a: finished in 12 s (1 finished, 1 left)", "b: FAILED, killed by SIGKILL after 3 s", "    step 1", "    step 2"
    ]  # fmt: skip


def test_what_an_earlier_process_said_is_not_shown(tmp_path: Path) -> None:
    (trial,) = expand(Sweep.load(planted(tmp_path)))
    folder = Ledger(tmp_path).write(trial, {})
    write_status(folder, Status("greg1: prune"))
    Ledger(tmp_path).write(trial, {})
    assert status_of(folder) == Status()


def test_a_terminal_shows_what_is_under_way(tmp_path: Path) -> None:
    a, b, c = paths(tmp_path, "a", "b", "c")
    console = Console(file=io.StringIO(), width=150, force_terminal=True, color_system=None)
    with watching([a, b, c], Count(3, 2, dict.fromkeys((a, b, c), "m")), Teller(console)) as view:
        write_status(a, Status("greg1: prune", 30, 120, "penalty 0.1"))
        view.tick()
        said = {task.description: task for task in view.bars.tasks}  # type: ignore[attr-defined]
        assert list(said) == ["all trials", "  a"]
        assert (said["  a"].completed, said["  a"].total) == (30, 120)
        assert said["  a"].fields["note"] == "greg1: prune penalty 0.1"
        assert said["all trials"].fields["note"] == "0 finished, 3 left; time left is not known before one is finished"
        view.end(a, Outcome(0, 300.0))
        said = {task.description: task for task in view.bars.tasks}  # type: ignore[attr-defined]
        assert list(said) == ["all trials"]
        assert said["all trials"].completed == 1
        assert said["all trials"].fields["note"] == "1 finished, 2 left; about 5 min left"
        view.end(b, Outcome(2, 1.0, "no"))
        view.end(c, Outcome(0, 100.0))
        assert said["all trials"].fields["note"] == "2 finished, 1 failed, 0 left"
    assert "b: FAILED, exit status 2 after 1 s" in console.file.getvalue()  # type: ignore[attr-defined]
