"""The comparison of GReg: jobs stop and go on anywhere, the table tells what was run, and bad orders are refused."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import niwaki as nk
from niwaki.bench.greg import run as runs
from niwaki.bench.greg.checkpoint import load_weights
from niwaki.bench.greg.contestants import CONTESTANTS, PAPER_STEPS, USUAL
from niwaki.bench.greg.job import Base, Home, Job
from niwaki.bench.greg.keeping import TimeIsUp
from niwaki.bench.greg.record import Record
from niwaki.bench.greg.rows import CLASSES, NETWORKS, ROWS, Row, rows_like
from niwaki.bench.greg.run import Order, compare
from niwaki.bench.greg.settings import FAST, PAPER, Settings, differences
from niwaki.bench.greg.table import cells, joined, lines, markdown, read
from niwaki.errors import BadInput, BrokenFile
from niwaki.recipes.progress import Teller
from niwaki.recipes.rates import rate
from niwaki.vision.images import Images
from niwaki.vision.resnet_cifar import resnet

QUICK = Settings(prune_batch=16, batch=16, epochs=2, grow=0.5, pick_grow=0.005, every=1, hold=1)
ROW = Row("tiny-0.5", "resnet8", "cifar10", {"layer1.*.conv1": 0.5}, 2.0, {"l1": 90.0})


@pytest.fixture(autouse=True)
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block in every stage."""
    monkeypatch.setitem(NETWORKS, "resnet8", lambda classes: resnet(8, classes))


@cache
def images() -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.arange(40) % 10
    return Images(pixels[:32], labels[:32], pixels[32:], labels[32:], (0.5,) * 3, (0.25,) * 3, 10)


@cache
def dense() -> nn.Module:
    torch.manual_seed(123)
    return resnet(8, 10).eval()


def job(folder: Path, name: str, *, until: float = float("inf"), settings: Settings = QUICK, seed: int = 0) -> Job:
    home = Home(folder, torch.device("cpu"), images(), until)
    return Job(ROW, CONTESTANTS[name], seed, settings, Base(dense(), 0.1, "abc"), home)


def weights(folder: Path, name: str) -> dict[str, Any]:
    return load_file(folder / "models" / f"tiny-0.5.{name}.0" / "model.safetensors")


@pytest.mark.parametrize("name", ["l1", "greg1", "greg2", "scratch"])
def test_a_job_in_pieces_is_the_job_in_one(name: str, tmp_path: Path) -> None:
    whole = job(tmp_path / "whole", name).run()
    pieces = tmp_path / "pieces"
    # In every piece one step is done, so that there are as many as steps; a few more than these, and it goes nowhere.
    found, stops = None, 0
    while found is None and stops < 50:
        try:
            found = job(pieces, name, until=time.monotonic()).run()
        except TimeIsUp:
            stops += 1
    assert found is not None
    assert stops > 2
    same = ("accuracy", "best", "pruned", "history", "macs", "params", "epochs")
    assert {k: found[k] for k in same} == {k: whole[k] for k in same}
    left, right = weights(tmp_path / "whole", name), weights(pieces, name)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[k], right[k]) for k in left)
    assert not list((pieces / "checkpoints").iterdir())
    records = [folder / "records" / f"tiny-0.5.{name}.0.jsonl" for folder in (tmp_path / "whole", pieces)]
    assert [path.is_file() for path in records] == [name.startswith("greg")] * 2
    if name.startswith("greg"):
        assert records[0].read_text() == records[1].read_text()


def test_a_result_tells_all_that_a_reader_must_know(tmp_path: Path) -> None:
    told: list[str] = []
    found = job(tmp_path, "greg1").run(told.append)
    assert found == json.loads((tmp_path / "results" / "tiny-0.5.greg1.0.json").read_text())
    assert found["base"] == {"accuracy": 0.1, "sha256": "abc"}
    assert found["settings"]["grow"] == 0.5
    assert len(found["history"]) == 2
    assert found["accuracy"] == found["history"][-1]
    assert found["macs"] < nk.measure.macs(dense(), torch.zeros(1, 3, 32, 32))
    # Factors 0.5, 1, 1.5, and one step of holding: four steps of 16 images, of 32.
    assert found["epochs"] == {"prune": 2.0, "retrain": 2}
    for spent in ("seconds", "core_seconds", "images_per_second"):
        assert found[spent].keys() == {"prune", "retrain"}
        assert min(found[spent].values()) >= 0
    assert len(told) == 4 + 2 * 2
    assert told[0] == "penalty 0.5"


def test_the_record_of_a_piece_that_was_not_kept_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "records" / "a.jsonl"
    record = Record(path, 0)
    for step in range(3):
        record({"step": step, "event": "press", "norms": [1.0], "spread": 0.5})
    path.write_text(path.read_text() + '{"step": 3, "ev')
    assert path.read_text().count("norms") == 0
    Record(path, 2)({"step": 2, "event": "cut"})
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["press", "press", "cut"]


def test_compiled_training_goes_through_the_compiler_before_and_after_the_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a compiler that changes nothing, as that takes a fraction of a second, all is as without one."""
    compiled: list[int] = []

    def compiler(model: nn.Module) -> Any:
        compiled.append(nk.measure.params(model))
        return lambda images: model(images)

    plain = job(tmp_path / "plain", "greg1").run()
    monkeypatch.setattr(torch, "compile", compiler)
    asked = job(tmp_path / "compiled", "greg1")
    home = replace(asked.home, compiled=True)
    found = Job(ROW, CONTESTANTS["greg1"], 0, QUICK, Base(dense(), 0.1, "abc"), home).run()
    assert compiled == [nk.measure.params(dense()), found["params"]]
    assert (found["compiled"], plain["compiled"]) == (True, False)
    assert found["history"] == plain["history"]


def test_a_finished_job_is_not_run_again(tmp_path: Path) -> None:
    first = job(tmp_path, "l1").run()
    told: list[str] = []
    assert job(tmp_path, "l1").run(told.append) == first
    assert told == []


def test_the_same_units_go_in_all_rows_of_one_mask(tmp_path: Path) -> None:
    for name in ("l1", "greg1", "scratch", "random"):
        job(tmp_path, name).run()
    plans = {
        name: json.loads((tmp_path / "models" / f"tiny-0.5.{name}.0" / "plan.json").read_text())["removed"]
        for name in ("l1", "greg1", "scratch", "random")
    }
    assert plans["l1"] == plans["greg1"] == plans["scratch"]
    assert plans["random"] != plans["l1"]


def test_from_scratch_nothing_of_the_dense_network_is_left(tmp_path: Path) -> None:
    made = job(tmp_path, "scratch")
    small = made._prune(None, lambda said: None)
    assert not torch.isin(small.layer1[0].conv1.weight, dense().layer1[0].conv1.weight).any()
    assert not torch.equal(small.linear.weight, dense().linear.weight)
    # As many images as pressing (2 steps for each half of the ceiling, one of holding) and retraining see.
    assert made._epochs() == 2 + round(3 * 16 / 32)


def test_by_macs_the_groups_compete_for_no_more_than_the_row_leaves(tmp_path: Path) -> None:
    row = replace(ROW, removed={"layer1.*.conv1": 0.5, "layer2.*.conv1": 0.5})
    home = Home(tmp_path, torch.device("cpu"), images())
    network = copy.deepcopy(dense())
    network.layer1[0].conv1.weight.data[:12] *= 0.01  # next to nothing, so that more than half should go
    base = Base(network, 0.1, "abc")
    even, apart = (
        Job(row, CONTESTANTS[name], 0, QUICK, base, home)._prune(None, lambda s: None) for name in ("l1", "l1-global")
    )
    example = torch.zeros(1, 3, 32, 32)
    assert 0.9 * nk.measure.macs(even, example) < nk.measure.macs(apart, example) <= nk.measure.macs(even, example)
    assert [even.layer1[0].conv1.out_channels, even.layer2[0].conv1.out_channels] == [8, 16]
    assert apart.layer1[0].conv1.out_channels == 4
    assert apart.layer2[0].conv1.out_channels > 16
    assert apart.layer3[0].conv1.out_channels == 64


def test_a_teacher_and_more_epochs_change_the_retraining_alone(tmp_path: Path) -> None:
    plain = job(tmp_path, "l1-cosine").run()
    taught, longer = job(tmp_path, "l1-taught").run(), job(tmp_path, "l1-longer").run()
    assert plain["pruned"] == taught["pruned"] == longer["pruned"]
    assert [len(found["history"]) for found in (plain, taught, longer)] == [2, 2, 5]
    left, right = (weights(tmp_path, name)["linear.weight"] for name in ("l1-cosine", "l1-taught"))
    assert not torch.equal(left, right)


def test_a_baseline_may_see_as_many_images_as_greg_does(tmp_path: Path) -> None:
    pressed = job(tmp_path, "greg1").run()
    plain, as_long, scratch = (job(tmp_path, name).run() for name in ("l1", "l1-as-long", "scratch"))
    assert len(as_long["history"]) == len(scratch["history"]) > len(plain["history"])
    assert as_long["pruned"] == plain["pruned"]
    assert len(as_long["history"]) == round(pressed["epochs"]["prune"] + pressed["epochs"]["retrain"])


def test_seeds_differ(tmp_path: Path) -> None:
    job(tmp_path, "l1", seed=0).run()
    job(tmp_path, "l1", seed=1).run()
    left, right = (load_file(tmp_path / "models" / f"tiny-0.5.l1.{k}" / "model.safetensors") for k in (0, 1))
    assert not torch.equal(left["linear.weight"], right["linear.weight"])


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TimeIsUp):
        job(tmp_path, "greg1", until=0.0).run()
    with pytest.raises(BrokenFile, match="other settings or another base network; remove it"):
        job(tmp_path, "greg1", settings=replace(QUICK, hold=2)).run()


# -- the table --------------------------------------------------------------------------------------------------------


def _jobs(seeds: range, contestant: str = "l1", **changes: Any) -> list[dict[str, Any]]:
    common = {"row": "tiny-0.5", "settings": {"lr": 0.1}, "images": [8, 4], "base": {"sha256": "ab", "accuracy": 0.5}}
    return [{**common, "contestant": contestant, "seed": seed, **changes} for seed in seeds]


def test_kept_jobs_stay_beside_new_ones_which_replace_their_like() -> None:
    old, new = (
        _jobs(range(2), accuracy=0.1),
        [*_jobs(range(1, 3), accuracy=0.2), *_jobs(range(1), "greg1", accuracy=0.3)],
    )
    found = [(job["contestant"], job["seed"], job["accuracy"]) for job in joined(old, new)]
    assert found == [("greg1", 0, 0.3), ("l1", 0, 0.1), ("l1", 1, 0.2), ("l1", 2, 0.2)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"settings": {"lr": 0.2}}, r"l1 of seed 0 is of settings \{'lr': 0.1\}, l1 of seed 1 of \{'lr': 0.2\}"),
        ({"images": [4, 4]}, r"of images \[8, 4\], l1 of seed 1 of \[4, 4\]"),
        ({"base": {"sha256": "cd", "accuracy": 0.5}}, "of base ab, l1 of seed 1 of cd"),
    ],
)
def test_jobs_that_were_not_run_alike_do_not_share_a_table(change: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        joined(_jobs(range(1)), _jobs(range(1, 2), **change))
    elsewhere = _jobs(range(1, 2), row="tiny-0.7", **change)  # another row may be of others
    assert len(joined(_jobs(range(1)), elsewhere)) == 2
    measured = {"base": {"sha256": "ab", "accuracy": 0.51}}
    assert len(joined(_jobs(range(1)), _jobs(range(1, 2), **measured))) == 2


def test_the_table_has_means_and_says_what_was_not_run(tmp_path: Path) -> None:
    found = job(tmp_path, "l1").run()
    path = tmp_path / "results" / "tiny-0.5.l1.0.json"
    path.write_text(json.dumps({**found, "accuracy": 0.5}))
    (tmp_path / "results" / "tiny-0.5.l1.1.json").write_text(json.dumps({**found, "accuracy": 0.6}))
    table = lines(read(tmp_path), [ROW], ["l1", "l1-low"])
    assert table[0]["accuracy"]["mean"] == pytest.approx(55.0)
    assert table[0]["accuracy"]["std"] == pytest.approx(50**0.5)
    assert cells(table[0])[:6] == [
        "tiny-0.5",
        "one-shot L1, step 0.01 (2)",
        "55.00 ± 7.07",
        cells(table[0])[3],
        f"{100 * found['pruned']:.1f}",  # as cut, before it was trained again
        "90.00",
    ]
    assert table[1]["seeds"] == 0  # and l1-low is not taken for l1
    assert cells(table[1])[1:3] == ["one-shot L1, step 0.001", "not run"]
    text = markdown(table).splitlines()
    assert len(text) == 4
    assert {line.count("|") for line in text} == {13}


def test_rows_are_those_of_the_paper() -> None:
    printed = {row.name: (row.speedup, row.printed) for row in ROWS}
    assert printed["resnet56-0.9"] == (11.41, {"dense": 93.36, "l1": 87.34, "greg1": 89.49})
    assert printed["resnet56-2.55x"][1]["greg2"] == 93.36
    assert printed["vgg19-0.7"] == (8.84, {"dense": 74.02, "l1": 66.05, "greg1": 67.35, "greg2": 67.75})
    assert len(printed) == len(ROWS) == 14


@pytest.mark.parametrize(("name", "most"), [("resnet20-0.5", 0.0), ("resnet56-2.55x", 0.004), ("vgg19-0.7", 0.01)])
def test_multiply_adds_go_as_the_paper_counts(name: str, most: float) -> None:
    """Within the difference between its way to round and to count and ours."""
    row = next(row for row in ROWS if row.name == name)
    model = NETWORKS[row.network](CLASSES[row.data]).eval()
    example = torch.zeros(1, 3, 32, 32)
    small = nk.prune(model, example, nk.methods.magnitude(row.target))
    speedup = nk.measure.macs(model, example) / nk.measure.macs(small, example)
    wanted = {"resnet20-0.5": 1.97}.get(name, row.speedup)
    assert speedup == pytest.approx(wanted, rel=max(most, 0.01))


def test_rates() -> None:
    assert [rate(PAPER_STEPS, p) for p in (0.0, 0.49, 0.5, 0.74, 0.75, 1.0)] == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    assert [rate("cosine", p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.5, 0.0])


def test_what_the_fast_preset_changes_is_told() -> None:
    assert differences(PAPER) == {}
    pressing = {"prune_batch", "prune_lr", "pick_grow", "pick_at", "grow", "every", "hold"}
    assert set(differences(FAST)) == {*pressing, "epochs"}
    assert differences(FAST)["epochs"] == (120, 5)


def test_the_fast_preset_adds_up_to_as_much_pressure() -> None:
    """Sums of rate / (1 - momentum) * penalty over the steps: e-folds of a weight that no gradient holds."""

    def folds(s: Settings, grow: float, end: float) -> float:
        return 10 * s.prune_lr * s.every * sum(grow * k for k in range(1, round(end / grow) + 1))

    def picked(s: Settings) -> float:
        return folds(s, s.pick_grow, s.pick_at)

    def pressed(s: Settings) -> float:
        return folds(s, s.grow, s.ceiling) + 10 * s.prune_lr * s.ceiling * s.hold

    assert picked(PAPER) == pytest.approx(picked(FAST), rel=0.05) == pytest.approx(0.5, rel=0.05)
    assert pressed(PAPER) > pressed(FAST) == pytest.approx(35, rel=0.01)


# -- orders -----------------------------------------------------------------------------------------------------------


def kept(folder: Path, **changes: Any) -> Path:
    """A checkpoint as data parallelism leaves one, without the counters that older ones lack."""
    state = {f"module.{k}": v for k, v in dense().state_dict().items() if "num_batches" not in k}
    torch.save({"state_dict": {**state, **changes}, "best": 93.0}, folder / "dense.th")
    return folder / "dense.th"


def order(folder: Path, **changes: Any) -> Order:
    base = {"rows": [ROW], "contestants": ["l1", "scratch"], "seeds": 1, "settings": QUICK, "data": folder}
    return Order(**{**base, "base": kept(folder), "out": folder / "out", **changes})


def test_a_comparison_goes_on_with_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_images", lambda order, teller: images())
    quiet = Teller(quiet=True)
    first = compare(order(tmp_path, minutes=0.0), quiet)
    assert [line["seeds"] for line in first] == [0, 0]
    assert "not run" in (tmp_path / "out" / "table.md").read_text()
    last = compare(order(tmp_path), quiet)
    assert [line["seeds"] for line in last] == [1, 1]
    assert json.loads((tmp_path / "out" / "table.json").read_text()) == json.loads(json.dumps(last))
    assert last[0]["base"]["sha256"] == last[1]["base"]["sha256"] != "abc"


def test_checkpoints_of_every_form_are_read(tmp_path: Path) -> None:
    names = [kept(tmp_path), tmp_path / "plain.pt", tmp_path / "dense.safetensors"]
    torch.save(dense().state_dict(), names[1])
    save_file(dense().state_dict(), names[2])
    for name in names:
        model = resnet(8, 10)
        torch.nn.init.zeros_(model.linear.weight)
        assert len(load_weights(model, name)) == 64
        assert torch.equal(model.linear.weight, dense().linear.weight)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = resnet(8, 10)
    with pytest.raises(BadInput, match=r"none\.th is missing"):
        load_weights(model, tmp_path / "none.th")
    (tmp_path / "text.th").write_text("not a checkpoint")
    with pytest.raises(BadInput, match="is no checkpoint of plain tensors"):
        load_weights(model, tmp_path / "text.th")
    torch.save([1, 2], tmp_path / "list.th")
    with pytest.raises(BadInput, match="holds no state dict"):
        load_weights(model, tmp_path / "list.th")
    with pytest.raises(BrokenFile, match=r"it has 'more' besides"):
        load_weights(model, kept(tmp_path, more=torch.zeros(1)))
    with pytest.raises(BrokenFile, match=r"'linear.bias' is \(3,\), and the network's \(10,\)"):
        load_weights(model, kept(tmp_path, **{"module.linear.bias": torch.zeros(3)}))
    torch.save({"conv1.weight": torch.zeros(16, 3, 3, 3)}, tmp_path / "part.th")
    with pytest.raises(BrokenFile, match=r"it lacks 'bn1.weight'"):
        load_weights(model, tmp_path / "part.th")


def test_orders_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no row is called 'resnet56-0.8'; did you mean 'resnet56-0.9'\?"):
        rows_like(("resnet56-0.8",))
    assert [row.name for row in rows_like(("resnet20-0.*",))] == ["resnet20-0.5", "resnet20-0.7", "resnet20-0.9"]
    with pytest.raises(BadInput, match=r"no contestant is called 'greg3'; did you mean"):
        order(tmp_path, contestants=["greg3"])
    with pytest.raises(BadInput, match="one run compares one network on one data set"):
        order(tmp_path, rows=[ROWS[0], ROWS[-1]])
    assert set(USUAL) <= set(CONTESTANTS)


def test_results_of_other_settings_or_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would stand in the table as if they were of these."""
    job(tmp_path, "l1").run()
    with pytest.raises(BrokenFile, match="other settings or another base network; remove it"):
        job(tmp_path, "l1", settings=replace(QUICK, epochs=3)).run()
    home = replace(
        job(tmp_path, "l1").home, images=replace(images(), test=images().test[:4], test_labels=torch.arange(4))
    )
    fewer = Job(ROW, CONTESTANTS["l1"], 0, QUICK, Base(dense(), 0.1, "abc"), home)
    with pytest.raises(BrokenFile, match=r"with \[32, 8\] training and test images, not \[32, 4\]"):
        fewer.run()
    monkeypatch.setattr(runs, "_images", lambda order, teller: images())
    compare(order(tmp_path), Teller(quiet=True))
    with pytest.raises(BrokenFile, match="other settings"):
        compare(order(tmp_path, settings=replace(QUICK, hold=2)), Teller(quiet=True))


def test_units_are_drawn_anew_for_every_seed() -> None:
    target, settings = nk.Ratio(0.5), Settings()
    drawn = [CONTESTANTS["random"].method(target, settings, seed) for seed in (0, 1, 0)]
    assert drawn[0] != drawn[1]
    assert drawn[0] == drawn[2]
    assert CONTESTANTS["greg1"].method(target, settings, 0) == CONTESTANTS["greg1"].method(target, settings, 1)
