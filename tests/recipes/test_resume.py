"""A run that was stopped goes on where it was, and ends as if it had never been stopped."""

from __future__ import annotations

import io
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from torch.utils.data import DataLoader, TensorDataset

from niwaki import savepoints
from niwaki.artefact.names import EXPORTED
from niwaki.cli import main
from niwaki.errors import BadInput, BrokenFile, CannotWrite, Damaged, NotSaved
from niwaki.recipes import Measure, Recipe, chance, exporting, standing
from niwaki.recipes import run as run_module
from niwaki.recipes.exporting import lacking
from niwaki.recipes.passes import Meter, Passes, _forgets
from niwaki.recipes.progress import Teller
from niwaki.recipes.record import RunRecord, recording, rows_of
from niwaki.recipes.run import run
from niwaki.report import Report
from niwaki.sealing import seal
from tests.recipes.kitchen import GREG, TRAINED, in_short, project

QUIET = Teller(quiet=True)
CODE = """
import os
import random

import numpy as np
from torch.utils.data import DataLoader, TensorDataset

CALLS = 0


def noisy(width=8):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.2),
        nn.Conv2d(width, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )


class Residual(nn.Module):
    # Its stream is left out by methods that look at data, which the record tells at once.

    def __init__(self):
        super().__init__()
        self.stem, self.first, self.second = (nn.Conv2d(n, 6, 3, padding=1) for n in (1, 6, 6))
        self.head = nn.Linear(6, 3)
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x):
        if self.training:
            self.seen += 0.01
        x = self.stem(x) * (1 + self.seen)
        return self.head((x + self.second(F.relu(self.first(x)))).mean((2, 3)))


def headed():
    model = noisy()
    nn.init.zeros_(model[9].weight)
    return model


def accuracy(model):
    return float(torch.sigmoid(next(model.parameters()).sum()))


def drawing(model):
    # What an evaluation with random crops, or a DataLoader, may do.
    random.random(), np.random.rand(), torch.rand(1)
    return 0.5


def images():
    draw = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(14, 1, 6, 6, generator=draw), torch.arange(14) % 3)


def shuffled(seed=0):
    return DataLoader(images(), batch_size=4, shuffle=True)


def remembering(seed=0):
    return DataLoader(images(), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(seed))


class Numbered:
    def __init__(self, seed=0):
        self.epoch, self.seed = 0, seed

    def __iter__(self):
        draw = torch.Generator().manual_seed(self.seed + self.epoch)
        self.epoch += 1
        return iter([(torch.randn(4, 1, 6, 6, generator=draw), torch.tensor([0, 1, 2, 0])) for _ in range(3)])


def stopping(model, batch):
    global CALLS
    CALLS += 1
    if CALLS == int(os.environ.get("STOP_AT", 0)):
        raise KeyboardInterrupt
    # A loss that draws from all generators: what a user's augmentation may do.
    noise = 1e-3 * (random.random() + float(np.random.rand()))
    return F.cross_entropy(model(batch[0]), batch[1]) * (1 + noise)
"""
IMP = {"name": "imp", "target": {"ratio": 0.5}, "rounds": 2, "steps": 3}
METHODS: dict[str, dict[str, Any]] = {
    "at once": {"name": "magnitude", "target": {"ratio": 0.5}},
    "greg1": GREG,
    "greg2": {"name": "greg2", "target": {"ratio": 0.5}, "grow": 0.25, "every": 1, "hold": 2, "pick_grow": 0.25},
    "zeros": IMP,
    "began as zeros": {"name": "magnitude", "of": "weights", "target": {"ratio": 0.5, "skip": "9.*"}},
    "from none": {"name": "gradual", "target": {"ratio": 0.5}, "steps": 4, "every": 2},
    "fresh": {"name": "topk", "target": {"ratio": 0.5}, "tune": 3, "fresh": True, "compensate": True, "samples": 8},
    "data": {"name": "ispasp", "target": {"ratio": 0.5}, "iters": 2, "tune": 2, "samples": 8},
}


@pytest.fixture(autouse=True)
def at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "SECONDS", 0.0)
    monkeypatch.delenv("STOP_AT", raising=False)
    in_short(monkeypatch)


def written(folder: Path, **changes: Any) -> Recipe:
    given = {**TRAINED, "model": "@noisy", "loss": "@stopping", "finetune": {"epochs": 2}, "data": "@shuffled"}
    return Recipe.load(project(folder, CODE, **{**given, **changes})[0])


def outcome(out: Path) -> dict[str, Any]:
    """All that a run leaves, without times."""
    found: dict[str, Any] = {}
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        found[folder.name] = (folder / "model.safetensors").read_bytes(), sorted(p.name for p in folder.iterdir())
        found[f"{folder.name} record"] = [{**row, "seconds": 0} for row in rows_of(folder / "record.jsonl")]
    report = Report.load(out).to_json()
    entries = [{**entry, "seconds": sorted(entry["seconds"])} for entry in report["entries"]]
    return {**found, "entries": entries, "curve": report["curve"], "traces": report["traces"]}


def stopped_and_resumed(recipe: Recipe, stops: list[int], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for turn, at in enumerate(stops):
        monkeypatch.setenv("STOP_AT", str(at))
        with pytest.raises(KeyboardInterrupt):
            run(recipe, teller=QUIET, resume=turn > 0)
    monkeypatch.delenv("STOP_AT")
    run(recipe, teller=QUIET, resume=True)
    return outcome(Path(recipe.out))


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("stops", [[2, 12], [6, 9]])
def test_it_ends_as_if_it_had_never_been_stopped(
    kind: str, stops: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"data": "@Residual", "began as zeros": "@headed"}.get(kind, "@noisy")
    given = {"method": METHODS[kind], "finetune": {"epochs": 3}, "model": model}
    whole, broken = (written(tmp_path / name, **given) for name in ("whole", "broken"))
    run(whole, teller=QUIET)
    found, wanted = stopped_and_resumed(broken, stops, monkeypatch), outcome(Path(whole.out))
    assert found == wanted


@pytest.mark.parametrize("data", ["@shuffled", "@remembering", "@Numbered", "@batches"])
def test_loaders_of_every_kind_go_on(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that draws from the process, one with a generator of its own, one that counts epochs, and a list."""
    whole = written(tmp_path / "whole", method=GREG, data=data)
    run(whole, teller=QUIET)
    broken = written(tmp_path / "broken", method=GREG, data=data)
    assert stopped_and_resumed(broken, [6, 11], monkeypatch) == outcome(Path(whole.out))


def test_an_older_run_is_not_taken_for_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = ({"name": "magnitude", "target": {"ratio": share}} for share in (0.25, 0.75))
    run(written(tmp_path, method=old), teller=QUIET)
    recipe = written(tmp_path, method=new)
    monkeypatch.setenv("STOP_AT", "3")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, teller=QUIET)
    monkeypatch.delenv("STOP_AT")
    finished = run(recipe, teller=QUIET, resume=True)
    assert finished.report.entries[1].widths == {"0": 2, "4": 2}


def test_a_resume_that_is_stopped_forgets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = written(tmp_path, method=[METHODS["at once"], {**METHODS["at once"], "label": "again"}, GREG])
    monkeypatch.setenv("STOP_AT", "18")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, teller=QUIET)
    names = [entry.name for entry in Report.load(tmp_path / "out").entries]
    assert names == ["dense", "magnitude", "magnitude-2"]
    read = run_module.load

    def stopping(folder: Path, dense: Any) -> Any:
        if folder.name == "magnitude-2":
            raise KeyboardInterrupt
        return read(folder, dense)

    monkeypatch.setattr(run_module, "load", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, teller=QUIET, resume=True)
    assert [entry.name for entry in Report.load(tmp_path / "out").entries] == names


def test_how_networks_are_timed_may_change(tmp_path: Path) -> None:
    recipe = written(tmp_path, method=METHODS["at once"])
    run(recipe, teller=QUIET)
    timed = replace(recipe, measure=Measure(runs=2))
    assert run(timed, teller=QUIET, resume=True).report.entries[1].latency[0].runs == 2


def checks(recipe: Recipe, name: str) -> list[tuple[str, str]]:
    """What the certificate in the folder compares, which is that of the report."""
    told = json.loads((Path(recipe.out) / name / "certificate.json").read_text())
    (entry,) = (entry for entry in Report.load(recipe.out).entries if entry.name == name)
    assert told == entry.certificate
    assert told["holds"]
    return list(dict.fromkeys((check["name"], check["against"]) for check in told["checks"]))


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        ("torch_export", {"export": ("torch_export",)}),
        ("onnx", {"measure": Measure(("onnxruntime",), 1, 2)}),
    ],
)
def test_what_finished_methods_lack_is_exported_and_certified(
    form: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    """Nothing uncertified is delivered, whether a file was asked for later or came to be needed for times."""
    if form == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    first = written(tmp_path, method=[METHODS["at once"], IMP], pack=True, finetune={"epochs": 1})
    run(first, teller=QUIET)
    recipe = replace(first, **changes)
    run(recipe, teller=QUIET, resume=True)
    for name, against in (("magnitude", "cut"), ("imp", "cut"), ("imp-packed", "packed")):
        assert checks(recipe, name)[-1] == (form, against)
    file = Path(recipe.out) / "imp" / EXPORTED[form]
    before = file.stat().st_mtime_ns
    run(recipe, teller=QUIET, resume=True)
    assert file.stat().st_mtime_ns == before
    run(first, teller=QUIET, resume=True)
    assert checks(recipe, "imp")[-1] == (form, "cut")


def test_a_file_that_no_certificate_covers_is_lacking(tmp_path: Path) -> None:
    covered, bare = {"checks": [{"name": "onnx"}]}, {"checks": [{"name": "cut"}]}
    assert lacking(covered, tmp_path, ["onnx"]) == ["onnx"]
    (tmp_path / "model.onnx").write_text("")
    assert lacking(bare, tmp_path, ["onnx"]) == ["onnx"]
    assert lacking(covered, tmp_path, ["onnx", "openvino"]) == ["openvino"]


def test_a_run_that_an_exporter_stops_is_saved_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dense network can be written and what was made of it cannot; also of a run of an older release."""
    recipe, calls = written(tmp_path, method=METHODS["at once"], export=["torch_export"]), []

    def failing(model: Any, *words: Any, **more: Any) -> Path:
        calls.append(model)
        if len(calls) > 1:
            raise BadInput("it has no such operator")
        return tmp_path

    monkeypatch.setattr(exporting, "_WRITERS", {"torch_export": failing})
    with pytest.raises(BadInput, match="no such operator"):
        run(recipe, teller=QUIET)
    path = tmp_path / "out" / standing.RUN
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "recipe": {**told["recipe"], "export": ["torch_export"]}}))
    finished = run(replace(recipe, export=()), teller=QUIET, resume=True)
    assert [entry.name for entry in finished.report.entries] == ["dense", "magnitude"]


def test_a_record_is_whole_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.jsonl"
    with recording(path) as record:
        for k in range(3):
            record({"k": k, "text": "é"})
    whole = path.read_bytes()
    monkeypatch.setattr(Path, "write_text", _full)
    with pytest.raises(OSError, match="full"):
        RunRecord(path, 2)
    assert path.read_bytes() == whole
    monkeypatch.undo()
    with closing(RunRecord(path, 2)) as record:
        record({"k": 7})
        record.back_to(2)
        record({"k": 8})
    assert [row["k"] for row in rows_of(path)] == [0, 1, 8]
    path.write_bytes(whole[: whole.rindex("é".encode()) + 1])  # broken off inside a letter
    assert [row["k"] for row in rows_of(path)] == [0, 1]


def _full(*args: Any, **kwargs: Any) -> None:
    raise OSError("the disk is full")


def test_batches_may_be_arrays(tmp_path: Path) -> None:
    with recording(tmp_path / "r.jsonl") as record:
        found = list(Passes([np.zeros((2, 3)), np.ones((2, 3))], Meter(record, "prune"), 1))
    assert [array.sum() for array in found] == [0, 6]


def test_what_is_finished_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [METHODS["at once"], IMP, GREG]
    whole = written(tmp_path / "whole", method=many, pack=True, finetune={"epochs": 1})
    run(whole, teller=QUIET)
    recipe = written(tmp_path / "broken", method=many, pack=True, finetune={"epochs": 1})
    monkeypatch.setenv("STOP_AT", "18")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, teller=QUIET)
    out = Path(recipe.out)
    assert [e.name for e in Report.load(out).entries] == ["dense", "magnitude", "imp", "imp-packed"]
    times = {path: path.stat().st_mtime_ns for path in out.glob("[im]*/model.safetensors")}
    assert len(times) == 3
    monkeypatch.delenv("STOP_AT")
    run(recipe, teller=QUIET, resume=True)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert [e.name for e in Report.load(out).entries] == ["dense", "magnitude", "imp", "imp-packed", "greg1"]
    assert outcome(out)["greg1"] == outcome(Path(whole.out))["greg1"]


def test_another_run_is_not_resumed(tmp_path: Path) -> None:
    recipe = written(tmp_path, method=METHODS["at once"])
    with pytest.raises(BadInput, match="holds no run to resume; leave --resume out"):
        run(recipe, teller=QUIET, resume=True)
    run(recipe, teller=QUIET)
    other = written(tmp_path, method=METHODS["at once"], seed=1)
    with pytest.raises(BadInput, match=r"holds another run: the recipe has another .*seed"):
        run(other, teller=QUIET, resume=True)
    told = json.loads((tmp_path / "out" / standing.RUN).read_text())
    (tmp_path / "out" / standing.RUN).write_text(json.dumps({**told, "weights": "0"}))
    with pytest.raises(BadInput, match="holds another run: the dense network has other weights"):
        run(recipe, teller=QUIET, resume=True)
    (tmp_path / "out" / standing.RUN).write_text("{")
    with pytest.raises(BrokenFile, match=r"run\.json cannot be read"):
        run(recipe, teller=QUIET, resume=True)


def test_a_damaged_checkpoint_is_told_and_a_fresh_run_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = written(tmp_path, method=GREG)
    monkeypatch.setenv("STOP_AT", "3")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, teller=QUIET)
    before, path = sorted((tmp_path / "out" / "greg1").glob(f"{standing.STAND}-*.pt"))
    good = path.read_bytes()
    for each in (before, path):
        each.write_bytes(good[: len(good) // 2])
    with pytest.raises(BrokenFile, match=r"no state in .* is whole"):
        run(recipe, teller=QUIET, resume=True)
    seal({"version": 0}, path)
    with pytest.raises(BrokenFile, match=r"states of another release; remove progress-\*\.pt in it"):
        run(recipe, teller=QUIET, resume=True)
    path.write_bytes(good)
    (tmp_path / "out" / "greg1" / "record.jsonl").write_text("")
    with pytest.raises(BrokenFile, match="that the checkpoint beside it counts on"):
        run(recipe, teller=QUIET, resume=True)
    monkeypatch.delenv("STOP_AT")
    run(recipe, teller=QUIET)
    assert not list(path.parent.glob("*.pt"))


def test_of_a_damaged_checkpoint_the_one_before_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what a writer left that was killed is removed."""
    whole = written(tmp_path / "whole", method=GREG)
    run(whole, teller=QUIET)
    recipe = written(tmp_path / "torn", method=GREG)
    monkeypatch.setenv("STOP_AT", "4")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, teller=QUIET)
    folder = tmp_path / "torn" / "out" / "greg1"
    newest = sorted(folder.glob(f"{standing.STAND}-*.pt"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    for place in (folder, folder.parent):
        (place / "x.json.1.part").write_text("half")
    monkeypatch.delenv("STOP_AT")
    with pytest.warns(Damaged, match=f"{newest.name} is cut short"):
        run(recipe, teller=QUIET, resume=True)
    assert outcome(folder.parent) == outcome(tmp_path / "whole" / "out")
    assert not list(folder.parent.rglob("*.part"))


def test_a_checkpoint_that_finds_no_room_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(state: Any, path: Path) -> None:
        raise CannotWrite(f"{path} cannot be written: the disk is full")

    whole = written(tmp_path / "whole", method=GREG)
    run(whole, teller=QUIET)
    recipe = written(tmp_path / "full", method=GREG)
    monkeypatch.setattr(savepoints, "seal", full)
    with pytest.warns(NotSaved, match="a state was not saved, and the run goes on; there is none yet"):
        run(recipe, teller=QUIET)
    assert outcome(tmp_path / "full" / "out") == outcome(tmp_path / "whole" / "out")


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    recipe = written(tmp_path, method=GREG)
    (tmp_path / "out").write_text("a file")
    said = io.StringIO()
    with pytest.raises(CannotWrite, match="out cannot be written: a file is where its folder must be"):
        run(recipe, teller=Teller(Console(file=said)))
    assert "prune" not in said.getvalue()


def test_a_run_that_is_over_is_only_told_again(tmp_path: Path) -> None:
    recipe = written(tmp_path, method=METHODS["at once"])
    run(recipe, teller=QUIET)
    before = outcome(tmp_path / "out")
    run(recipe, teller=QUIET, resume=True)
    assert outcome(tmp_path / "out") == before


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = project(tmp_path, CODE, **{**TRAINED, "model": "@noisy", "loss": "@stopping", "method": GREG})
    monkeypatch.setenv("STOP_AT", "3")
    told = CliRunner().invoke(main, ["prune", str(path)])
    assert told.exit_code == 130
    assert told.output.splitlines()[-1].endswith("the same command with --resume goes on")
    monkeypatch.delenv("STOP_AT")
    assert CliRunner().invoke(main, ["prune", str(path), "--resume"]).exit_code == 0
    assert [e.name for e in Report.load(tmp_path / "out").entries] == ["dense", "greg1"]


def test_loaders_that_forget() -> None:
    rows = TensorDataset(torch.zeros(4))
    own = torch.Generator()
    known = [[], (), DataLoader(rows), DataLoader(rows, shuffle=True)]
    assert all(map(_forgets, known))
    others = [DataLoader(rows, shuffle=True, generator=own), iter([]), DataLoader(rows, sampler=[0, 1])]
    assert not any(map(_forgets, others))


def test_a_loader_is_asked_to_skip_if_it_can(tmp_path: Path) -> None:
    class Skipping:
        epoch = skip = 0

        def __iter__(self) -> Any:
            start, self.skip = self.skip, 0
            self.epoch += 1
            return iter([torch.full((1,), float(10 * self.epoch + k)) for k in range(start, 3)])

    with recording(tmp_path / "r.jsonl") as record:
        first = Passes(Skipping(), Meter(record, "prune"), 3)
        seen, states = [], []
        for batch in first:
            seen.append(float(batch))
            states.append(first.state())
        assert seen == [10.0, 11.0, 12.0, 20.0, 21.0, 22.0, 30.0, 31.0, 32.0]
        for k, state in enumerate(states):
            again = Passes(Skipping(), Meter(record, "prune"), 3)
            again.go_on(state)
            assert [float(batch) for batch in again] == seen[k + 1 :]


def test_all_generators_are_put_back() -> None:
    import random

    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    chance.reseed(3)
    kept = chance.states()
    first = draw()
    assert draw() != first
    chance.restore(kept)
    assert draw() == first


def test_the_record_is_on_the_disk_before_a_state_that_counts_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    seal_it = savepoints.seal
    monkeypatch.setattr(RunRecord, "to_disk", lambda self: done.append("record"))
    monkeypatch.setattr(savepoints, "seal", lambda *told: (done.append("state"), seal_it(*told)))
    with closing(standing.Standing(tmp_path, False)) as stand:
        stand.keep("prune", dict)
    assert done == ["record", "state"]


def test_rows_behind_those_that_count_do_not_matter(tmp_path: Path) -> None:
    """After a power cut they may be anything."""
    path = tmp_path / "record.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n\0\0\0\n{"a"')
    with closing(RunRecord(path, keep=2)) as record:
        assert record.rows == [{"a": 1}, {"a": 2}]
    path.write_bytes(b'{"a": 1}\n\0\n{"a": 3}\n')
    with pytest.raises(BrokenFile, match="is damaged"):
        RunRecord(path, keep=2)


def test_a_state_of_another_kind_is_told(tmp_path: Path) -> None:
    seal({"version": standing.VERSION}, tmp_path / f"{standing.STAND}-000001.pt")
    with pytest.raises(BrokenFile, match="holds states of another release"):
        standing.Standing(tmp_path, resume=True)
    # Fine-tuning without the zeros that it is to hold.
    told = {"version": standing.VERSION, "phase": "finetune", "rows": 0, "seconds": {}}
    seal(told, tmp_path / f"{standing.STAND}-000001.pt")
    with pytest.raises(BrokenFile, match="holds states of another release"):
        standing.Standing(tmp_path, resume=True)
    seal({**told, "gone": {}}, tmp_path / f"{standing.STAND}-000001.pt")
    with closing(standing.Standing(tmp_path, resume=True)) as found:
        assert found.tunes


def test_rounds_that_are_scored_leave_the_weights_as_they_are_without(tmp_path: Path) -> None:
    """Whatever an evaluation draws, training goes on with the numbers that would have come."""
    given = {"method": IMP, "finetune": None}
    looked, alone = (written(tmp_path / str(how), evaluate=how, **given) for how in ("@drawing", None))
    for recipe in (looked, alone):
        run(recipe, teller=QUIET)
    found, wanted = (outcome(Path(recipe.out)) for recipe in (looked, alone))
    assert found["imp"] == wanted["imp"]
    assert [row["event"] for row in found["imp record"]].count("accuracy") == 3
    assert [row for row in found["imp record"] if row["event"] != "accuracy"] == wanted["imp record"]


def test_time_that_is_paused_counts_for_no_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(standing.time, "perf_counter", lambda: now[0])
    clock = standing.Clock({"prune": 100.0})
    with clock.phase("prune"):
        now[0] += 1
        with clock.pause():
            now[0] += 20
            assert clock.seconds == {"prune": 101}
        now[0] += 3
    assert clock.seconds == {"prune": 104}
