"""What a few timed widths say of all others, and a few timed networks of all plans."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from niwaki.errors import BadInput, BrokenFile
from niwaki.forecast import shelf as shelves
from niwaki.forecast import timing
from niwaki.forecast.hardware import Place
from niwaki.forecast.model import Coefficients, Load, fit
from niwaki.forecast.shapes import Shape, Side, Stairs, Surface, along, fitted, odd, rungs
from niwaki.forecast.shelf import Shelf
from niwaki.graph.work import Convolution, Linear, Task
from niwaki.measure.hardware import processor

HERE = Place("onnxruntime", 1, torch.device("cpu"), torch.float32)
LINEAR = Task(Linear(4, bias=True), 256, 128, 128)
DEPTHWISE = Task(Convolution(1, (8, 8), (6, 6), (3, 3), (1, 1), (0, 0), (1, 1), bias=False), 64, 1, 64)
BOTH: frozenset[Side] = frozenset({"made", "taken"})


def timed(shape: Shape, ms: Callable[[int, int], float]) -> Surface:
    return Surface(shape, {task: ms(*shape.widths(task)) for task in shape.tasks})


def test_the_ladder_by_hand() -> None:
    assert rungs(256) == (32, 64, 128, 192, 256)
    assert rungs(100) == (16, 32, 64, 80, 100)
    assert rungs(24) == (8, 16, 24)
    assert rungs(10) == (4, 8, 10)
    assert rungs(1) == (1,)
    assert odd(256) == [191, 188, 184, 176]
    assert odd(24) == [15, 12, 8]
    assert odd(8) == []


def test_what_cannot_change_is_timed_at_one_width() -> None:
    assert Shape(LINEAR, frozenset()).tasks == (LINEAR,)
    made: frozenset[Side] = frozenset({"made"})
    assert {task.taken for task in Shape(LINEAR, made).tasks} == {128}
    assert {task.made for task in Shape(LINEAR, made).grid} == set(rungs(256))
    probes = Shape(LINEAR, BOTH).probes
    assert probes == (*((m, 128) for m in (191, 188, 184, 176)), *((256, t) for t in (95, 92, 88, 80)), (191, 95))


def test_depthwise_layers_lose_groups() -> None:
    shape = Shape(DEPTHWISE, BOTH)
    assert shape.tied
    assert [(t.made, t.taken, t.source) for t in shape.grid] == [(n, 1, n) for n in (16, 32, 48, 64)]
    assert shape.at(47, 1) == replace(DEPTHWISE, made=47, source=47)
    assert shape.widths(replace(DEPTHWISE, made=20, source=20)) == (20, 1)
    surface = timed(shape, lambda made, _: 2.0 * made + 3)
    assert surface.at(replace(DEPTHWISE, made=20, source=20)) == pytest.approx((43.0, 0.0))


def test_between_the_rungs_products_inputs_and_outputs_are_told_apart() -> None:
    """a + b·made + c·taken + d·made·taken is met exactly, beyond the lowest rungs too."""

    def ms(made: int, taken: int) -> float:
        return 3 + 0.1 * made + 0.2 * taken + 0.01 * made * taken

    surface = timed(Shape(LINEAR, BOTH), ms)
    for made, taken in ((256, 128), (255, 127), (100, 50), (33, 100), (7, 3)):
        task = replace(LINEAR, made=made, taken=taken, source=taken)
        assert surface.at(task) == pytest.approx((ms(made, taken), 0.0))


def test_stairs_are_found() -> None:
    """What is no multiple of 16 takes as long as the next one, and a half more; with both sides odd twice as long."""

    def ms(made: int, taken: int) -> float:
        up = -(-made // 16) * 16
        odd_made, odd_taken = made % 16 != 0, taken % 8 != 0
        more = 2.0 if odd_made and odd_taken else 1.5 if odd_made else 1.25 if odd_taken else 1.0
        return up * (-(-taken // 8) * 8) * more

    surface = timed(Shape(LINEAR, BOTH), ms)
    rows, columns = surface.stairs
    assert (rows.multiple, rows.dearer) == (16, pytest.approx(0.5))
    assert (columns.multiple, columns.dearer) == (8, pytest.approx(0.25))
    assert surface.both == pytest.approx(1.0)
    for widths in ((250, 128), (256, 100), (201, 77), (160, 64)):
        assert surface.ms(*widths) == pytest.approx(ms(*widths))
    smooth, more = surface.at(replace(LINEAR, made=250, taken=128, source=128))
    assert smooth == pytest.approx(250 * 128)
    assert smooth + more == pytest.approx(ms(250, 128))


def test_without_a_reason_no_stairs() -> None:
    assert fitted([191, 188, 184, 176], [191.0, 188.0, 184.0, 176.0], float, 256) == Stairs()
    assert fitted([], [], float, 256) == Stairs()
    assert Stairs(16, 0.5).up(250, 250) == 250
    assert Stairs(16, 0.5).up(243, 250) == 250


def test_a_line_goes_on_beyond_its_ends() -> None:
    assert along([2], [5.0], 9) == 5.0
    assert along([2, 4, 8], [1.0, 2.0, 3.0], 3) == 1.5
    assert along([2, 4, 8], [1.0, 2.0, 3.0], 16) == 5.0
    assert along([2, 4, 8], [1.0, 2.0, 3.0], 0) == 0.0


def test_the_fit_finds_what_networks_were_made_of() -> None:
    """By hand: 1.2 × layers + 2 × odd + 0.5 a million entries + 3."""
    truth = Coefficients(1.2, 2.0, 0.5, 3.0)
    loads = [Load(40, 0, 8e6), Load(12, 0, 4e6), Load(4, 0, 2e6), Load(20, 5, 6e6), Load(9, 1, 5e6)]
    assert truth.ms(loads[3]) == pytest.approx(1.2 * 20 + 2 * 5 + 0.5 * 6 + 3)
    found = fit(loads, [truth.ms(load) for load in loads])
    for load in loads:
        assert found.ms(load) == pytest.approx(truth.ms(load), rel=0.01)


def test_one_network_is_enough_for_a_fit() -> None:
    found = fit([Load(10, 0, 0)], [10.0])
    assert found.layers == pytest.approx(1.0, abs=0.01)
    with pytest.raises(BadInput, match="at least one network"):
        fit([], [])


# -- the shelf -------------------------------------------------------------------------------------------


def test_times_are_kept_by_place(tmp_path: Path) -> None:
    times = {LINEAR: 1.5, DEPTHWISE: 0.25, replace(DEPTHWISE, form=replace(DEPTHWISE.form, padding="same")): 2.0}
    Shelf(HERE, tmp_path).add(times)
    assert Shelf(HERE, tmp_path).times == times
    assert Shelf(replace(HERE, threads=2), tmp_path).times == {}
    assert Shelf(HERE, None).times == {}
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("onnxruntime-")
    assert json.loads(path.read_text())["place"]["device"] == processor()


def test_compiled_networks_share_the_times_of_pytorch() -> None:
    plain, compiled = (replace(HERE, runtime=name) for name in ("pytorch", "compile"))
    assert plain.name == compiled.name != HERE.name


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:50],
        lambda data: data.replace('"version": 1', '"version": 9'),
        lambda data: data.replace('"ms": 1.5', '"ms": -1.5'),
        lambda data: data.replace('"made": 256', '"made": "256"'),
        lambda data: data.replace('"kind": "linear"', '"kind": "other"'),
        lambda data: data.replace('"rows"', '"lines"'),
    ],
)
def test_a_damaged_shelf_is_told(tmp_path: Path, damage: Callable[[str], str]) -> None:
    Shelf(HERE, tmp_path).add({LINEAR: 1.5})
    (path,) = tmp_path.iterdir()
    text = path.read_text()
    path.write_text(damage(text))
    assert path.read_text() != text
    with pytest.raises(BrokenFile, match=r"does not hold times of layers .* delete it"):
        Shelf(HERE, tmp_path)


def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIWAKI_CACHE", str(tmp_path / "a"))
    assert shelves.folder() == tmp_path / "a"
    monkeypatch.delenv("NIWAKI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert shelves.folder() == tmp_path / "niwaki"


# -- timing ----------------------------------------------------------------------------------------------


def test_what_is_known_is_not_timed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Task] = []

    def counting(task: Task, place: Place) -> Callable[[], None]:
        made.append(task)
        return lambda: None

    monkeypatch.setattr(timing, "kernel", counting)
    shape = Shape(LINEAR, BOTH)
    told: list[tuple[str, int, int]] = []
    found = timing.time_shapes([shape], HERE, Shelf(HERE, tmp_path), lambda *what: told.append(what))
    assert set(found) == set(shape.tasks)
    assert all(ms > 0 for ms in found.values())
    assert sorted(made, key=str) == sorted({timing.IDLE, *shape.tasks}, key=str)
    assert told == [("layers", 0, 1), ("layers", 1, 1)]
    made.clear()
    assert timing.time_shapes([shape], HERE, Shelf(HERE, tmp_path)) == found
    assert made == []


def test_the_call_is_not_the_layers(tmp_path: Path) -> None:
    """Outside PyTorch, what a call takes by itself comes off, and something of each layer stays."""
    shape = Shape(LINEAR, frozenset())
    for runtime, wanted in (("onnxruntime", 1.5), ("pytorch", 2.0)):
        place = replace(HERE, runtime=runtime)
        shelf = Shelf(place, None)
        shelf.add({timing.IDLE: 0.5, LINEAR: 2.0})
        assert timing.time_shapes([shape], place, shelf) == {LINEAR: wanted}
        shelf.add({LINEAR: 0.5})
        assert timing.time_shapes([shape], place, shelf)[LINEAR] > 0
