"""A run that is asked to stop keeps what it has done, and none of it is done again."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from niwaki.recipes import Recipe
from niwaki.recipes.progress import Teller
from niwaki.recipes.run import run
from niwaki.recipes.stopping import Stopping
from tests.recipes.kitchen import GREG, TRAINED, in_short, project

QUIET = Teller(quiet=True)
CODE = """
import os
import signal

CALLS = 0


def signalled(model, batch):
    global CALLS
    CALLS += 1
    if CALLS == int(os.environ.get("STOP_AT", 0)):
        for _ in range(int(os.environ.get("TIMES", 1))):
            signal.raise_signal(int(os.environ["SIGNAL"]))
    return loss(model, batch)


JUDGED = 0


def judged(model):
    global JUDGED
    JUDGED += model[0].out_channels < 8
    if JUDGED == int(os.environ.get("NTH", 0)) and "SIGNAL" in os.environ and model[0].out_channels < 8:
        signal.raise_signal(int(os.environ["SIGNAL"]))
    return 0.5


class Workers:
    # As a loader whose workers have heard the signal too: the next batch fails.
    def __iter__(self):
        for k, batch in enumerate(batches()):
            if k == 2 and "SIGNAL" in os.environ:
                signal.raise_signal(int(os.environ["SIGNAL"]))
                raise RuntimeError("a worker exited")
            yield batch
"""
ENDS = {signal.SIGINT: (KeyboardInterrupt, None), signal.SIGTERM: (SystemExit, 128 + signal.SIGTERM)}
PRUNED, TUNED = 3, 9  # calls of the loss in which it prunes, and in which it tunes


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    in_short(monkeypatch)


def written(folder: Path, **changes: object) -> Recipe:
    given = {**TRAINED, "method": GREG, "loss": "@signalled", "finetune": {"epochs": 2}}
    return Recipe.load(project(folder, CODE, **{**given, **changes})[0])


def calls(recipe: Recipe) -> int:
    """How often the loss of the recipe was computed, in all its runs."""
    found: int = sys.modules[str(recipe.loss).partition(":")[0]].CALLS
    return found


def weights(recipe: Recipe) -> bytes:
    return (Path(recipe.out) / "greg1" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("at", [PRUNED, TUNED])
def test_nothing_is_done_twice(
    at: int, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, asked = written(tmp_path / "whole"), written(tmp_path / "asked")
    run(whole, teller=QUIET)
    monkeypatch.setenv("STOP_AT", str(at))
    monkeypatch.setenv("SIGNAL", str(int(number)))
    kind, code = ENDS[number]
    before = signal.getsignal(number)
    with pytest.raises(kind) as ended:
        run(asked, teller=QUIET)
    assert getattr(ended.value, "code", None) == code
    assert calls(asked) == at
    assert signal.getsignal(number) is before
    assert "stopping as soon as what is done is kept" in capfd.readouterr().err
    run(asked, teller=QUIET, resume=True)
    assert calls(asked) == calls(whole)
    assert weights(asked) == weights(whole)


def test_the_second_one_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = written(tmp_path)
    for name, value in {"STOP_AT": PRUNED, "SIGNAL": int(signal.SIGINT), "TIMES": 2}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(KeyboardInterrupt) as ended:
        run(recipe, teller=QUIET)
    assert ended.traceback[-1].name == "signalled"
    assert not list(Path(recipe.out).glob("greg1/progress-*"))


def test_in_the_last_step_of_a_method_it_is_finished_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = [GREG, {**GREG, "hold": 3, "label": "longer"}]
    whole, asked = (written(tmp_path / name, finetune=None, method=two) for name in ("whole", "asked"))
    run(whole, teller=QUIET)
    last = (calls(whole) - 1) // 2
    monkeypatch.setenv("STOP_AT", str(last))
    monkeypatch.setenv("SIGNAL", str(int(signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt):
        run(asked, teller=QUIET)
    assert calls(asked) == last
    report = run(asked, teller=QUIET, resume=True).report
    assert calls(asked) == calls(whole)
    assert len(report.entries) == 3


@pytest.mark.parametrize("nth", [1, 2])
def test_what_training_came_to_is_kept_while_it_is_judged(
    nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the phases it goes on to where a state can be written; behind them the method is finished."""
    given = {"method": [GREG, {**GREG, "label": "again"}], "evaluate": "@judged"}
    whole, asked = (written(tmp_path / name, **given) for name in ("whole", "asked"))
    run(whole, teller=QUIET)
    monkeypatch.setenv("SIGNAL", str(int(signal.SIGINT)))
    monkeypatch.setenv("NTH", str(nth))
    with pytest.raises(KeyboardInterrupt):
        run(asked, teller=QUIET)
    assert (Path(asked.out) / "report.json").is_file() == (nth == 2)
    assert calls(asked) < calls(whole)
    monkeypatch.delenv("SIGNAL")
    assert len(run(asked, teller=QUIET, resume=True).report.entries) == 3
    assert calls(asked) == calls(whole)
    assert weights(asked) == weights(whole)


def test_workers_that_heard_it_too_are_no_error_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNAL", str(int(signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt):
        run(written(tmp_path, data="@Workers"), teller=QUIET)


def test_signals_that_the_program_hears_are_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with Stopping() as stopping:
            os.kill(os.getpid(), signal.SIGTERM)
        assert (heard, stopping.asked) == ([signal.SIGTERM], None)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_error_that_nobody_asked_for_stays_what_it_is() -> None:
    with pytest.raises(ValueError, match="mine"), Stopping():
        raise ValueError("mine")
