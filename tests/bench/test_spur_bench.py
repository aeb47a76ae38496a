"""The comparison of SPUR on a tiny encoder: jobs go on, factors are chosen on held-out rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from niwaki.bench.spur import job as jobs
from niwaki.bench.spur import table
from niwaki.bench.spur.contestants import CONTESTANTS
from niwaki.bench.spur.study import Study, best
from niwaki.bench.spur.subjects import Classified, _split, text
from niwaki.errors import BadInput, BrokenFile
from niwaki.methods import Choose, Gradually
from niwaki.recipes.progress import Teller
from niwaki.savepoints import Savepoints
from niwaki.text.batches import Tokens
from niwaki.text.tasks import Task
from tests.text.tiny import BAD, GOOD, encoder, llama, reviews, tokenizer

QUIET = Teller(quiet=True)
SHARES = (0.5, 0.9)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("NIWAKI_DATA", str(tmp_path))
    monkeypatch.setenv("NIWAKI_DEVICE", "cpu")
    (tmp_path / "text").mkdir()
    for part, rows in (("train", 60), ("dev", 20)):
        (tmp_path / "text" / f"{part}.tsv").write_text("\n".join(["text\tlabel", *films(rows)]), encoding="utf-8")
    task = Task("films", {"train": ("train",), "dev": ("dev",)}, ("negative", "positive"))
    folder = encoder(tmp_path / "encoder")
    subject = Classified(task, folder, held_out=20)
    return Study(subject, tmp_path / "out", SHARES, ("imp",), seeds=1, epochs=1, lr=1e-3)


def films(rows: int) -> list[str]:
    return [f"the film was {(BAD, GOOD)[k % 2][k % 3]}\t{('negative', 'positive')[k % 2]}" for k in range(rows)]


def test_each_round_is_looked_at_as_training_leaves_it(study: Study) -> None:
    (found,) = study.run(QUIET)
    assert [row["share"] for row in found["rounds"]] == pytest.approx([0.0, 0.5, 0.9], abs=0.01)
    assert all(0 <= row["reported"]["accuracy"] <= 1 for row in found["rounds"])
    assert [row["pattern"]["survivors"] < row["pattern"]["weights"] for row in found["rounds"]] == [False, True, True]
    assert sorted(path.suffix for path in (study.out / "jobs").iterdir()) == [".json"]
    assert len(list((study.out / "models").iterdir())) == 2


def test_a_job_that_is_there_is_not_made_again(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    first = study.run(QUIET)
    monkeypatch.setattr(jobs, "_Running", None)
    assert study.run(QUIET) == first
    with pytest.raises(BrokenFile, match="has another settings"):
        replace(study, lr=2e-3).run(QUIET)


def test_a_job_goes_on_bit_for_bit(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "EVERY", 1)
    contestants = replace(study, contestants=("spur",))
    (whole,) = _with_alphas(contestants, monkeypatch).run(QUIET)
    other = replace(contestants, out=study.out.with_name("other"))
    saves: list[int] = []

    class PoweredOff(Exception):
        pass

    kept = jobs._Running._save

    def break_off(running: Any, points: Savepoints) -> None:
        kept(running, points)
        saves.append(running.tuning.done)
        if len(saves) in (1, 3, 4):
            raise PoweredOff

    monkeypatch.setattr(jobs._Running, "_save", break_off)
    for _ in range(3):
        with pytest.raises(PoweredOff):
            other.run(QUIET)
    (again,) = other.run(QUIET)
    assert saves == sorted(set(saves))
    assert {**again, "core_s": 0} == {**whole, "core_s": 0}
    for path in (study.out / "models").iterdir():
        assert path.read_bytes() == (other.out / "models" / path.name).read_bytes()


def _with_alphas(study: Study, monkeypatch: pytest.MonkeyPatch, *alphas: float) -> Study:
    one = replace(CONTESTANTS["spur"], alphas=alphas or (1e-2,))
    monkeypatch.setitem(CONTESTANTS, "spur", one)
    return study


def test_a_checkpoint_of_other_settings_is_refused(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    points = Savepoints.beside(study.out / "jobs" / "films.encoder.imp.0.pt")
    assert points.save({"told": json.dumps({"version": 0})})
    with pytest.raises(BrokenFile, match="is of other settings; remove it"):
        study.run(QUIET)


def test_factors_are_chosen_where_zeros_are_many_and_on_held_out_rows() -> None:
    def found(alpha: float, *held: float) -> dict[str, Any]:
        rows = [
            {"share": s, "held_out": h, "reported": {"accuracy": 1 - h}}
            for s, h in zip((0, 0.9, 0.95), held, strict=True)
        ]
        return {"alpha": alpha, "rounds": rows}

    assert best([found(1.0, 0.9, 0.5, 0.5), found(2.0, 0.1, 0.6, 0.6), found(3.0, 0.1, 0.6, 0.6)]) == 2.0
    assert best([]) is None


def test_all_seeds_are_run_with_the_chosen_factor_alone(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    two = _with_alphas(replace(study, contestants=("spur",), seeds=2), monkeypatch, 1e-2, 1e-1)
    found = two.run(QUIET)
    chosen = best(found[:2])
    assert [(row["alpha"], row["seed"]) for row in found] == [(1e-2, 0), (1e-1, 0), (chosen, 1)]
    (line,) = table.lines(found, SHARES)
    assert line.alpha == chosen
    assert line.score(0.9, "accuracy").endswith("(2)")


def test_who_goes_to_one_share_takes_as_many_steps_as_the_others() -> None:
    for name in ("gmp", "movement"):
        method = CONTESTANTS[name].method((0.5, 0.9), 20, None, "*")
        assert method.body.longest == CONTESTANTS["imp"].method((0.5, 0.9), 20, None, "*").body.longest == 60
        part = next(p for p in method.body.walk() if isinstance(p, Gradually))
        assert part.choose.target.removed == 0.9
    shares = [
        p.target.removed
        for p in CONTESTANTS["spur"].method((0.5, 0.9), 20, 1e-3, "*").body.walk()
        if isinstance(p, Choose)
    ]
    assert shares == [0.5, 0.9]


def test_the_table_has_a_cell_for_what_was_run() -> None:
    def row(share: float, value: float) -> dict[str, Any]:
        pattern = {"gini_rows": 0.2, "gini_columns": 0.4, "empty_rows": 0.0, "empty_columns": 0.1}
        return {"share": share, "held_out": 0.5, "reported": {"accuracy": value}, "pattern": pattern}

    results = [
        {"contestant": "imp", "alpha": None, "seed": seed, "rounds": [row(0.0, 0.9), row(0.9, 0.8 + 0.02 * seed)]}
        for seed in (0, 1)
    ]
    found = table.lines(results, (0.9, 0.95))
    assert table.scores(found, (0.9, 0.95), "accuracy") == [
        ["", "0%", "90%", "95%"],
        ["IMP", "90.0 ± 0.0 (2)", "81.0 ± 1.4 (2)", ""],
    ]
    assert table.patterns(found, (0.9,)) == [["", "Gini at 90%", "empty at 90%"], ["IMP", "0.30", "0.05"]]
    assert table.markdown([["", "a"], ["b", "c"]]) == "|  | a |\n| --- | --: |\n| b | c |"


def test_factors_that_were_tried_have_a_line_each() -> None:
    """With the first seed, in ascending order; a contestant with one factor, or none, has nothing to compare."""

    def job(name: str, alpha: float | None, seed: int, value: float) -> dict[str, Any]:
        return {
            "contestant": name,
            "alpha": alpha,
            "seed": seed,
            "rounds": [{"asked": 0.9, "share": 0.9, **held(value)}],
        }

    def held(value: float) -> dict[str, Any]:
        return {"held_out": value, "reported": {"accuracy": value}}

    results = [
        job("spur", 0.01, 0, 0.7),
        job("spur", 0.001, 0, 0.8),
        job("spur", 0.001, 1, 0.1),
        job("imp", None, 0, 0.9),
        job("l1", 1e-5, 0, 0.9),
    ]
    found = [(line.name, line.alpha, line.score(0.9, "accuracy")) for line in table.tried(results, (0.9,))]
    assert found == [("spur", 0.001, "80.0 (1)"), ("spur", 0.01, "70.0 (1)")]


def test_more_zeros_than_were_asked_for_are_at_home_where_they_were_asked_for(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proximal form makes zeros of its own; its rows are those of the shares that were asked for."""
    proximal = replace(CONTESTANTS["spur-proximal"], alphas=(60.0,))
    monkeypatch.setitem(CONTESTANTS, "spur-proximal", proximal)
    (found,) = replace(study, contestants=("spur-proximal",)).run(QUIET)
    assert [row["asked"] for row in found["rounds"]] == [0.0, *SHARES]
    assert found["rounds"][0]["share"] > 0.05
    (line,) = table.lines([found], SHARES)
    assert sorted(line.cells) == [0.0, *SHARES]
    assert {path.name.rpartition(".60.0.")[2] for path in (study.out / "models").iterdir()} == {
        "0.5.safetensors",
        "0.9.safetensors",
    }


def test_factors_are_chosen_by_the_shares_that_were_asked_for() -> None:
    def found(alpha: float, *held: float) -> dict[str, Any]:
        rounds = [{"asked": a, "share": 0.95, "held_out": h} for a, h in zip((0.5, 0.9), held, strict=True)]
        return {"alpha": alpha, "rounds": rounds}

    assert best([found(1.0, 0.9, 0.5), found(2.0, 0.1, 0.6)]) == 2.0


@pytest.fixture
def causal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("NIWAKI_DATA", str(tmp_path))
    monkeypatch.setenv("NIWAKI_DEVICE", "cpu")
    place = tmp_path / "text" / "lm"
    place.mkdir(parents=True)
    for part, count in (("valid", 8000), ("test", 1500)):
        words = " ".join(" ".join(text.split()) for text, _ in reviews(count // 5))
        (place / f"wikitext2.{part}.txt").write_text(words, encoding="utf-8")
    folder = tmp_path / "llama"
    llama().save_pretrained(folder)
    tokenizer(folder)
    subject = replace(text("wikitext2", folder), held_out=20, length=16)
    return Study(subject, tmp_path / "out", SHARES, ("imp",), seeds=1, epochs=1, lr=1e-2)


def test_a_causal_model_is_pruned_by_perplexity(causal: Study) -> None:
    (found,) = causal.run(QUIET)
    assert found["measure"] == "perplexity"
    assert [row["share"] for row in found["rounds"]] == pytest.approx([0.0, 0.5, 0.9], abs=0.01)
    dense, *_, sparse = [row["reported"]["perplexity"] for row in found["rounds"]]
    untrained = causal.subject.measured(causal.subject.model(0), causal.subject.parts.reported)["perplexity"]
    assert 1 < dense < 0.8 * untrained
    assert sparse < untrained
    (line,) = table.lines([found], SHARES)
    assert float(line.score(0.0, "perplexity").split()[0]) == pytest.approx(dense, abs=0.06)


def test_of_perplexities_the_least_is_the_best() -> None:
    found = [
        {"measure": "perplexity", "alpha": alpha, "rounds": [{"share": 0.9, "held_out": held}]}
        for alpha, held in ((1.0, 30.0), (2.0, 20.0))
    ]
    assert best(found) == 2.0
    assert [table.unit(name) for name in ("f1", "perplexity")] == ["f1 in percent", "perplexity (less is better)"]


def test_a_text_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIWAKI_DATA", str(tmp_path))
    (tmp_path / "text").mkdir()
    with pytest.raises(BadInput, match=r"There is no lm/wikitext2.valid.txt in .*; put it there, plain or packed"):
        text("wikitext2", tmp_path)


def test_nobody_by_that_name(study: Study) -> None:
    with pytest.raises(BadInput, match=r"no contestant is called 'spurr'; did you mean 'spur'\?"):
        replace(study, contestants=("spurr",))
    with pytest.raises(BadInput, match="films has 60 rows to train on, of which 60 are held out"):
        replace(study, subject=replace(study.subject, held_out=60)).run(QUIET)


def test_who_goes_at_once_goes_to_the_last_share_if_all_are_low(study: Study) -> None:
    def ways(*shares: float) -> list[tuple[float, ...]]:
        return [job.shares for job in replace(study, shares=shares)._jobs("gmp", CONTESTANTS["gmp"], None, 0)]

    assert ways(0.5, 0.7) == [(0.5, 0.7)]
    assert ways(0.5, 0.9, 0.95) == [(0.5, 0.9), (0.5, 0.9, 0.95)]


@pytest.mark.parametrize("left", [False, True])
def test_parts_are_padded_as_the_whole(left: bool) -> None:
    rows = torch.arange(4)
    whole = Tokens({"input_ids": torch.arange(1, 11)}, torch.tensor([0, 1, 3, 6, 10]), rows, {"input_ids": 0}, left)
    for part in _split(whole, None, 2, "x"):
        found, expected = part.batch(torch.arange(len(part))), whole.batch(part.labels)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
