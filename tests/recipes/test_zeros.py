"""Recipes whose methods leave zeros in place of cutting: they stay, and the report shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.recipes import Recipe
from niwaki.recipes.phases import rate_in_round
from niwaki.recipes.progress import Teller
from niwaki.recipes.rates import Linear
from niwaki.recipes.record import rows_of
from niwaki.recipes.run import Finished, run
from niwaki.report import Report
from tests.recipes.kitchen import GREG, TRAINED, in_short, project

QUIET = Teller(quiet=True)
TARGET = {"ratio": 0.5, "skip": "8.*"}
SINGLE: dict[str, dict[str, Any]] = {
    "spur": {"name": "spur", "target": TARGET, "rounds": 2, "steps": 2, "alpha": 1e-3},
    "nm": {"name": "nm", "target": {"nm": "2:4"}},
}


def carried_out(folder: Path, **changes: Any) -> tuple[Recipe, Finished]:
    path, _ = project(folder, **{"finetune": {"epochs": 1}, **TRAINED, **changes})
    recipe = Recipe.load(path)
    return recipe, run(recipe, teller=QUIET)


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Finished]:
    return carried_out(tmp_path_factory.mktemp("zeros"), method=list(SINGLE.values()))


def weights(recipe: Recipe, name: str) -> dict[str, Tensor]:
    return load_file(Path(recipe.out) / name / "model.safetensors")


def test_what_is_zero_stays_zero_through_fine_tuning(garden: tuple[Recipe, Finished]) -> None:
    recipe, _ = garden
    found = weights(recipe, "spur")
    assert [int((found[name] == 0).sum()) for name in ("0.weight", "3.weight")] == [36, 288]
    assert not (found["8.weight"] == 0).any()
    halves = (weights(recipe, "nm")["3.weight"] != 0).reshape(8, 2, 4, 3, 3).sum(2)
    assert (halves == 2).all()


def test_the_certificate_holds_and_the_folder_loads(garden: tuple[Recipe, Finished]) -> None:
    recipe, finished = garden
    assert finished.failing == ()
    for name in SINGLE:
        folder = Path(recipe.out) / name
        certificate = json.loads((folder / "certificate.json").read_text())
        assert certificate["holds"]
        assert {check["name"] for check in certificate["checks"]} >= {"cut", "reloaded"}
        assert nk.Plan.load(folder / "plan.json").removed == {}


def test_the_report_tells_zeros_and_shows_where_the_others_are(garden: tuple[Recipe, Finished]) -> None:
    recipe, finished = garden
    report = Report.load(Path(recipe.out))
    entries = {entry.name: entry for entry in report.entries}
    assert entries["spur"].notes[0] == "50.0% of the weights of 2 tensors are zero. No tensor is smaller for that."
    assert entries["spur"].params == entries["dense"].params
    shares = {told.entry: [round(r.sparsity, 3) for r in told.rounds] for told in report.patterns}
    assert shares == {"spur": [pytest.approx(0.293, abs=0.01), 0.5], "nm": [0.5]}
    assert "nan" not in finished.page.read_text(encoding="utf-8").lower().split("<body")[1][:200]


def test_rates_start_anew_in_each_round(tmp_path: Path) -> None:
    told = {**TRAINED, "optimizer": {"name": "SGD", "lr": 0.01, "schedule": "linear"}}
    recipe, finished = carried_out(tmp_path, method=SINGLE["spur"], **told)
    assert finished.failing == ()
    assert recipe.to_json()["optimizer"]["schedule"] == "linear"
    method = nk.methods.imp(0.5, rounds=1, steps=2, dense=4)
    shares = [rate_in_round(Linear(0.5), method, step) for step in range(7)]
    assert shares == pytest.approx([0, 0.5, 1, 0.5, 0, 1, 0])
    assert rate_in_round("constant", nk.methods.magnitude(nk.Ratio(0.5)), 3) == 1


def test_no_such_schedule(tmp_path: Path) -> None:
    told = {**TRAINED, "optimizer": {"name": "SGD", "schedule": "spiral"}}
    with pytest.raises(BadInput, match=r"optimizer.schedule .*'spiral'"):
        carried_out(tmp_path, method=GREG, **told)


def test_rows_of_the_record_fit_in_few_lines(garden: tuple[Recipe, Finished]) -> None:
    recipe, _ = garden
    rows = [json.loads(line) for line in (Path(recipe.out) / "spur" / "record.jsonl").read_text().splitlines()]
    kinds = [row["event"] for row in rows]
    assert kinds.count("choose") == kinds.count("pattern") == 2
    assert torch.tensor([row["sparsity"] for row in rows if row["event"] == "pattern"]).diff() > 0


def test_zeros_are_packed_into_an_entry_of_their_own(tmp_path: Path) -> None:
    method = {**SINGLE["spur"], "target": {"ratio": 0.9}, "label": "SPUR"}
    told = {"method": [method, {"name": "magnitude", "target": {"macs": 0.5}}], "measure": {"runs": 1}, "pack": True}
    recipe, finished = carried_out(tmp_path, extra="\naccuracy.measure_name = 'F1'\n", **told)
    assert finished.failing == ()
    assert Recipe.read(recipe.to_json(), recipe.folder) == recipe
    entries = {entry.name: entry for entry in finished.report.entries}
    assert list(entries) == ["dense", "spur", "spur-packed", "magnitude"]
    masked, packed = entries["spur"], entries["spur-packed"]
    assert packed.label == "SPUR, packed"
    assert {entry.measure for entry in entries.values()} == {"F1"}
    assert packed.accuracy == pytest.approx(masked.accuracy)
    assert packed.macs <= masked.macs
    assert packed.certificate is not None
    assert packed.notes[0].startswith("Forms of the linear layers: 1 ")
    assert packed.latency
    folder = Path(recipe.out) / "spur-packed"
    assert {"packing.json", "plan.json", "model.safetensors", "certificate.json"} <= {f.name for f in folder.iterdir()}
    checks = json.loads((folder / "certificate.json").read_text())["checks"]
    assert {check["name"] for check in checks} >= {"packed", "reloaded"}


def test_nothing_to_pack_is_refused_before_any_training(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"pack is for methods that leave zeros.* magnitude cuts"):
        carried_out(tmp_path, method={"name": "magnitude", "target": {"macs": 0.5}}, pack=True)
    with pytest.raises(BadInput, match="pack must be true or false, not 'yes'"):
        carried_out(tmp_path / "other", method=SINGLE["spur"], pack="yes")


def test_a_rate_that_falls_needs_a_method_whose_steps_are_known(tmp_path: Path) -> None:
    told = {**TRAINED, "optimizer": {"name": "SGD", "lr": 0.01, "schedule": "linear"}}
    with pytest.raises(BadInput, match=r"optimizer\.schedule: nobody knows how many steps ispasp will take"):
        carried_out(tmp_path, method={"name": "ispasp", "target": {"ratio": 0.5}, "tune": 2}, **told)


HEADED = """


def headed():
    model = build()
    nn.init.zeros_(model[8].weight)
    return model


def left(model):
    return float((model[3].weight != 0).float().mean())
"""


@pytest.mark.parametrize(("target", "held"), [(TARGET, 0), ({"ratio": 0.5}, 12)])
def test_weights_that_began_as_zeros_are_free_unless_they_were_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: dict[str, Any], held: int
) -> None:
    in_short(monkeypatch)
    method = {"name": "magnitude", "of": "weights", "target": target}
    recipe, _ = carried_out(tmp_path, method=method, model="@headed", extra=HEADED)
    found = weights(recipe, "magnitude")
    zeros = [int((found[name] == 0).sum()) for name in ("0.weight", "3.weight", "8.weight")]
    assert zeros == [36, 288, held]


def test_what_a_penalty_has_made_zero_beside_the_masks_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_short(monkeypatch)
    method = {**SINGLE["spur"], "alpha": 6.0, "proximal": True}
    found = {}
    for epochs in (0, 1):
        recipe, _ = carried_out(tmp_path / str(epochs), method=method, finetune={"epochs": epochs})
        found[epochs] = weights(recipe, "spur")
    names = ("0.weight", "3.weight")
    assert all(torch.equal(found[0][name] == 0, found[1][name] == 0) for name in names)
    assert 36 + 288 < sum(int((found[1][name] == 0).sum()) for name in names) < 72 + 576
    assert not torch.equal(found[0]["8.weight"], found[1]["8.weight"])


def test_beside_the_bar_stands_nothing_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods of single weights have no factor that grows; others have none in their last step."""
    told: dict[str, list[str]] = {}

    @contextmanager
    def stage(self: Teller, title: str, total: int | None = None, done: int = 0) -> Iterator[Any]:
        yield told.setdefault(title, []).append

    in_short(monkeypatch)
    monkeypatch.setattr(Teller, "stage", stage)
    carried_out(tmp_path, method=[SINGLE["spur"], GREG], finetune=None)
    kinds = {title: [note.split(" ")[0] for note in notes] for title, notes in told.items()}
    assert kinds == {"spur: prune": ["loss"] * 6, "greg1: prune": ["penalty"] * 6 + ["loss"]}
    assert "penalty 0" not in {note for notes in told.values() for note in notes}
    assert len(set(told["spur: prune"])) > 1


def scored(folder: Path, **changes: Any) -> list[dict[str, Any]]:
    """Rows of the record of a run, its one method's; what it measures is the share of survivors in one tensor."""
    recipe, _ = carried_out(folder, extra=HEADED, evaluate="@left", **changes)
    return rows_of(Path(recipe.out) / recipe.entries[0] / "record.jsonl")


@pytest.mark.parametrize("epochs", [0, 1])
def test_each_round_has_the_score_of_what_it_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    in_short(monkeypatch)
    method = {**SINGLE["spur"], "target": {"ratio": 0.5, "only": "3.*"}}
    rows = scored(tmp_path, method=method, finetune={"epochs": epochs})
    taken = [row for row in rows if row["event"] == "accuracy"]
    found = [row for row in taken if "zeros" in row]
    assert [row["zeros"] for row in found] == [0, pytest.approx(0.293, abs=0.01), 0.5]
    assert [row["accuracy"] for row in found] == pytest.approx([1 - row["zeros"] for row in found])
    assert [(row["phase"], row["images"]) for row in found] == [("prune", 8), ("prune", 16), ("prune", 24)]
    kinds = [row["event"] for row in rows if row["event"] != "epoch"]
    tuned = ["accuracy"] * epochs
    assert kinds == ["start", *["accuracy", "choose", "pattern"] * 2, "accuracy", *tuned, "finished"]
    assert [row["step"] for row in found[:2]] == [row["step"] for row in rows if row["event"] == "pattern"]
    points = [point for point in Report.load(tmp_path / "out").curve if point.zeros is not None]
    assert [(p.zeros, p.accuracy) for p in points] == [(row["zeros"], row["accuracy"]) for row in found]


@pytest.mark.parametrize(
    "method",
    [
        {"name": "magnitude", "of": "weights", "target": TARGET},
        {"name": "gradual", "target": TARGET, "steps": 4, "every": 1},
        {**SINGLE["spur"], "rounds": 1},
        GREG,
    ],
)
def test_what_chooses_once_or_all_the_time_is_scored_at_its_end_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: dict[str, Any]
) -> None:
    in_short(monkeypatch)
    taken = [row for row in scored(tmp_path, method=method, finetune=None) if row["event"] == "accuracy"]
    assert len(taken) == 1
    assert "zeros" not in taken[0]
