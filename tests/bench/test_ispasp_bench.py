"""The studies of i-SpaSP: the paper's curves come out, jobs go on where they stopped, tables tell what was run."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor

from niwaki.bench.ispasp import perceptron, plots, show, table
from niwaki.bench.ispasp.perceptron import Perceptron, accuracy, train
from niwaki.bench.ispasp.printed import FIGURE_2
from niwaki.bench.ispasp.rivals import RIVALS, Choice, Samples
from niwaki.bench.ispasp.settings import FAST, PAPER, Schedule, Settings, differences, in_bfloat16
from niwaki.bench.ispasp.study import WHEN, Seed, Study, read
from niwaki.bench.ispasp.synthetic import Synthetic, miss
from niwaki.cli import main
from niwaki.errors import BadInput, BrokenFile
from niwaki.recipes.progress import Teller
from niwaki.recovery import TwoLayer, ispasp
from niwaki.vision.mnist import Digits, normalise

QUIET = Teller(quiet=True)
QUICK = Settings(
    dense=Schedule(3, lr=0.02, batch=32), tune=Schedule(2, lr=0.02, batch=32), width=48, kept=(6, 12), iters=4,
    sample=64, tries=8, fit=200,
)  # fmt: skip


@cache
def digits() -> Digits:
    """Ten patterns of 36 pixels with noise: easy, and not too easy for six units."""
    g = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 256, (10, 36), generator=g)

    def some(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(0, 10, (count,), generator=g)
        noise = torch.randint(-110, 111, (count, 36), generator=g)
        return (patterns[labels] + noise).clamp(0, 255).to(torch.uint8), labels

    return Digits(*some(300), *some(200))


def study(folder: Path, **changes: Any) -> Study:
    return Study(digits(), QUICK, folder, **({"seeds": 1} | changes))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("study")
    return folder, study(folder, seeds=2).run(QUIET)


# -- made-up matrices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "p"), [(width, p) for width, curves in FIGURE_2.items() for p in curves])
def test_the_curves_of_the_paper_come_out(width: int, p: float) -> None:
    """At the points that were read off, within a mean of 0.1 in log10, with the matrices of the command."""
    order, printed = Synthetic(), FIGURE_2[width][p]
    second = order.second(width)
    models = [TwoLayer(order.hidden(width, p, number), second) for number in range(order.matrices)]
    misses = []
    for keep, value in printed.items():
        found = sum(m.residual(ispasp(m, keep)) for m in models) / len(models)
        misses.append(abs(math.log10(found / value)))
    assert sum(misses) / len(misses) < 0.1


def test_a_small_curve_falls_to_nothing_and_repeats() -> None:
    order = Synthetic(widths=(12,), ps=(0.5,), matrices=2, samples=8)
    (curve,) = order.run(QUIET)
    assert len(curve["residuals"]) == 12
    assert curve["residuals"][-1] == 0 < curve["residuals"][-2] < curve["residuals"][0]
    assert order.run(QUIET) == [curve]
    assert replace(order, seed=1).run(QUIET) != [curve]
    assert miss(curve) is None


def test_the_miss_by_hand() -> None:
    """Ten times too much at every point is a miss of 1."""
    residuals = [10 * FIGURE_2[100][0.3].get(keep, 1.0) for keep in range(1, 101)]
    assert miss({"width": 100, "p": 0.3, "residuals": residuals}) == pytest.approx(1)


# -- the network ------------------------------------------------------------------------------------------------------


def test_a_network_by_hand() -> None:
    model = Perceptron(torch.tensor([[1.0, 0], [0, -1]]), torch.tensor([[2.0, 3]]))
    assert model.hidden(torch.tensor([[5.0, 7], [-1, -2]])).tolist() == [[5, 0], [0, 2]]
    assert model(torch.tensor([[5.0, 7], [-1, -2]])).tolist() == [[10], [6]]


def test_a_first_step_by_hand() -> None:
    """One batch, so that an epoch is a step: the weights move by the rate times the gradient."""
    model = Perceptron.fresh(36, 8, 0)
    before = [p.detach().clone() for p in model.parameters()]
    loss = torch.nn.functional.cross_entropy(model(normalise(digits().train)), digits().train_labels)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    (told,) = train(model, digits(), Schedule(1, lr=0.1, batch=300), 0)
    assert told == pytest.approx(loss.item())
    for old, new, grad in zip(before, model.parameters(), expected, strict=True):
        torch.testing.assert_close(new.detach(), old - 0.1 * grad)


def test_training_is_that_of_pytorch() -> None:
    """SGD with momentum in the same order, with a rate that falls at half and at three quarters."""
    schedule = Schedule(4, lr=0.05, batch=100)
    ours, theirs = Perceptron.fresh(36, 8, 0), Perceptron.fresh(36, 8, 0)
    train(ours, digits(), schedule, 5)
    optimizer = torch.optim.SGD(theirs.parameters(), 0.05, momentum=0.9)
    for epoch, lr in enumerate([0.05, 0.05, 0.005, 0.0005]):
        optimizer.param_groups[0]["lr"] = lr
        order = torch.randperm(300, generator=torch.Generator().manual_seed(5 * 10_007 + epoch))
        for chosen in order.split(100):
            optimizer.zero_grad()
            outputs = theirs(normalise(digits().train[chosen]))
            torch.nn.functional.cross_entropy(outputs, digits().train_labels[chosen]).backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_training_in_bfloat16_learns_as_well() -> None:
    model = Perceptron.fresh(36, 48, 0)
    losses = train(model, digits(), Schedule(6, lr=0.05, batch=32, bfloat16=True), 0)
    assert losses[-1] < 0.3 * losses[0]
    assert accuracy(model, digits()) > 0.9
    assert all(p.dtype == torch.float32 for p in model.parameters())


class Killed(Exception):
    """Stands for the end of the process."""


def test_training_that_was_killed_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, schedule, kept = Perceptron.fresh(36, 8, 0), Schedule(4, lr=0.05, batch=64), tmp_path / "a" / "dense.st"
    losses = train(whole, digits(), schedule, 1)

    def after_two(said: str) -> None:
        ticks.append(said)
        if len(ticks) == 3:
            raise Killed

    ticks: list[str] = []
    with pytest.raises(Killed):
        train(Perceptron.fresh(36, 8, 0), digits(), schedule, 1, kept, after_two, save_every=-1)
    model = Perceptron.fresh(36, 8, 99)  # all of it comes from the file
    ticks.clear()
    assert train(model, digits(), schedule, 1, kept, ticks.append) == losses
    assert len(ticks) == 2
    for a, b in zip(model.parameters(), whole.parameters(), strict=True):
        assert a.equal(b)
    with pytest.raises(BrokenFile, match=r"seed 1, .*not of .*seed 2"):
        train(model, digits(), schedule, 2, kept)
    with pytest.raises(BrokenFile, match="another folder"):
        train(model, digits(), replace(schedule, lr=1.0), 1, kept)


# -- the rivals -------------------------------------------------------------------------------------------------------


def test_a_choice_counts_what_was_picked_twice() -> None:
    choice = Choice.of(torch.tensor([3, 1, 3]), factor=0.5)
    assert (choice.units.tolist(), choice.factors.tolist()) == ([1, 3], [0.5, 1.0])
    dense = Perceptron(torch.arange(8.0).view(4, 2), torch.tensor([[1.0, 2, 3, 4]]))
    small = choice.network(dense)
    assert small.first.tolist() == [[2, 3], [6, 7]]
    assert small.second.tolist() == [[1, 4]]


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_gives_every_width_and_repeats(name: str) -> None:
    dense = Perceptron.fresh(36, 48, 3).requires_grad_(False)
    choices = [RIVALS[name](dense, Samples(digits(), 64, 1), QUICK, 1) for _ in range(2)]
    for keep in QUICK.kept:
        a, b = (found[keep] for found in choices)
        assert a.units.equal(b.units)
        assert a.factors.equal(b.factors)
        assert len(a.units) == keep or (name.startswith("gfs") and len(a.units) < keep)
        assert float(a.factors.sum()) == pytest.approx(48 if name in ("gfs", "ispasp scaled") else len(a.units))


@pytest.mark.parametrize(("one", "other"), [("ispasp", "ispasp scaled"), ("gfs", "gfs plain")])
def test_a_control_chooses_the_same_units_with_other_weights(done, one: str, other: str) -> None:
    folder, _ = done
    a, b = (load_file(folder / "chosen" / f"{name.replace(' ', '-')}.0.safetensors") for name in (one, other))
    for keep in (6, 12):
        assert a[f"units.{keep}"].equal(b[f"units.{keep}"])
        assert not a[f"factors.{keep}"].equal(b[f"factors.{keep}"])


def test_greedy_selection_takes_the_lowest_loss_of_the_average() -> None:
    """With all candidates tried on all images, the first pick is the best unit of all, counted 48 times."""
    dense = Perceptron.fresh(36, 48, 3).requires_grad_(False)
    settings = replace(QUICK, kept=(1,), tries=48)
    picked = int(RIVALS["gfs"](dense, Samples(digits(), 300, 0), settings, 0)[1].units)
    x, labels = normalise(digits().train), digits().train_labels
    alone = [Choice(torch.tensor([u]), torch.tensor([48.0])).network(dense)(x) for u in range(48)]
    losses = [torch.nn.functional.cross_entropy(outputs, labels).item() for outputs in alone]
    assert picked == losses.index(min(losses))


def test_samples_are_new_each_time_and_repeat_with_the_seed() -> None:
    draw, again = Samples(digits(), 20, 4), Samples(digits(), 20, 4)
    first, second = draw()[0], draw()[0]
    assert not first.equal(second)
    assert first.equal(again()[0])
    assert len(Samples(digits(), 9999, 0)()[1]) == 300


# -- the study --------------------------------------------------------------------------------------------------------


def test_a_study_gives_every_rival_every_width_and_every_seed(done) -> None:
    folder, results = done
    assert {(r["rival"], r["keep"], r["seed"]) for r in results} == {
        (n, k, s) for n in RIVALS for k in (6, 12) for s in (0, 1)
    }
    assert sorted(read(folder), key=str) == sorted(results, key=str)
    for result in results:
        assert all(0 <= result[key] <= 1 for key in ("dense", *WHEN))
        assert result["units"] <= result["keep"]


def test_least_squares_helps_before_tuning(done) -> None:
    lines = table.means(done[1])
    for line in lines:
        if line["rival"] != "gfs":
            assert line["compensated"]["mean"] > line["before"]["mean"]


def test_a_study_that_was_killed_goes_on_and_does_nothing_twice(done, tmp_path: Path, monkeypatch) -> None:
    calls = []

    def some(model: Perceptron, *rest: Any, **options: Any) -> list[float]:
        calls.append(model)
        if len(calls) == 6:
            raise Killed
        return perceptron.train(model, *rest, **options)

    monkeypatch.setattr("niwaki.bench.ispasp.study.train", some)
    with pytest.raises(Killed):
        study(tmp_path).run(QUIET)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    assert len(kept) == 2
    results = study(tmp_path).run(QUIET)
    assert all(path.stat().st_mtime_ns == at for path, at in kept.items())
    timeless = [{k: v for k, v in r.items() if k != "select_s"} for r in results]
    assert timeless == [{k: v for k, v in r.items() if k != "select_s"} for r in done[1] if r["seed"] == 0]
    before = len(calls)
    study(tmp_path).run(QUIET)
    assert len(calls) == before


def test_results_of_something_else_are_refused(tmp_path: Path) -> None:
    study(tmp_path, rivals=("random",)).run(QUIET)
    with pytest.raises(BrokenFile, match="other settings"):
        Study(digits(), replace(QUICK, ridge=0.5), tmp_path, 1, ("random",)).run(QUIET)
    with pytest.raises(BrokenFile, match="other images"):
        Study(digits().first(100), QUICK, tmp_path, 1, ("random",)).run(QUIET)


@pytest.mark.parametrize("kept", ["dense", "chosen"])
def test_what_was_made_of_other_images_is_not_taken(kept: str, tmp_path: Path) -> None:
    """Also where no result is there yet that would tell."""
    study(tmp_path, rivals=("random",)).run(QUIET)
    for folder in {"dense", "chosen", "results"} - {kept}:
        shutil.rmtree(tmp_path / folder)
    with pytest.raises(BrokenFile, match="remove it, or name another folder"):
        Study(digits().first(100), QUICK, tmp_path, 1, ("random",)).run(QUIET)


def test_compensation_fits_the_wide_network(tmp_path: Path) -> None:
    """With all units there is nothing to make up for; with few, the outputs come closer."""
    one = Seed(study(tmp_path), 0, QUIET)
    whole = Choice(torch.arange(48), torch.ones(48)).network(one.dense)
    torch.testing.assert_close(one._compensated(whole).second, one.dense.second)
    x = normalise(digits().train)
    few = Choice(torch.arange(10), torch.ones(10)).network(one.dense)
    misses = [(net(x) - one.dense(x)).square().sum().item() for net in (few, one._compensated(few))]
    assert misses[1] < 0.5 * misses[0]


def test_an_unknown_rival_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="did you mean 'ispasp'"):
        study(tmp_path, rivals=("isp",))


def test_settings_say_how_they_differ() -> None:
    assert differences(PAPER) == {}
    assert differences(FAST) == {
        "dense.epochs": (200, 20), "dense.lr": (1e-3, 1e-2), "dense.bfloat16": (False, True),
        "tune.epochs": (50, 5), "tune.lr": (1e-3, 1e-2), "tune.bfloat16": (False, True),
    }  # fmt: skip
    assert differences(in_bfloat16(PAPER)).keys() == {"dense.bfloat16", "tune.bfloat16"}


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_means_by_hand() -> None:
    base = {"rival": "ispasp", "keep": 100, "dense": 0.98, "units": 100, "select_s": 1.0, "after_compensated": 0.97}
    results = [{**base, "seed": s, "before": v, "compensated": 0.9, "after": 0.95} for s, v in enumerate([0.4, 0.5])]
    (line,) = table.means(results)
    assert line["before"]["mean"] == pytest.approx(45)
    assert line["before"]["std"] == pytest.approx(math.sqrt(50))
    assert table.means(results[:1])[0]["before"]["std"] is None
    rows = table.accuracies([line])
    assert rows[1] == ["i-SpaSP", "as cut", "45.00 ± 7.07 (43.4)"]
    assert rows[2] == ["i-SpaSP", "with least squares", "90.00 ± 0.00"]
    fewer = {**line, "rival": "gfs", "seeds": 1}
    assert table.accuracies([line, fewer])[2][0] == "GFS, 50 candidates (1 of 2 seeds)"
    assert table.dense([line]) == "98.00 ± 0.00 (98.19), 2 seeds"


def test_the_verdict_by_hand() -> None:
    def line(rival: str, keep: int, *means: float) -> dict[str, Any]:
        return {"rival": rival, "keep": keep, **{w: {"mean": m} for w, m in zip(WHEN, means, strict=True)}}

    lines = [
        line("ispasp", 1, 2, 6, 7, 9),
        line("ispasp", 2, 3, 7, 8, 9),
        line("gfs", 1, 5, 8, 6, 8),
        line("gfs", 2, 7, 6, 9, 8),
    ]
    said = table.verdict(lines).splitlines()[2:]
    assert [text.rpartition(" at ")[2] for text in said] == ["1 of 2.", "1 of 2.", "1 of 2.", "2 of 2."]
    assert said[0] == "- i-SpaSP with least squares: above GFS, 50 candidates as cut at 1 of 2."


def test_changed_settings_are_told(done) -> None:
    told = table.changed(done[1])
    assert "width 48, not 10000" in told
    assert "kept (6, 12), not (100, 250, 500, 750, 1000)" in told
    paper = [{"settings": json.loads(json.dumps(asdict(PAPER)))}]
    assert table.changed(paper) == "the paper's"


def test_tables_and_plots_are_left_in_the_folder(done, tmp_path: Path) -> None:
    show.synthetic(Synthetic(widths=(12,), ps=(0.5, 0.9), matrices=1, samples=5), tmp_path, QUIET)
    kept = json.loads((tmp_path / "synthetic.json").read_text())
    assert [curve["p"] for curve in kept["curves"]] == [0.5, 0.9]
    assert kept["settings"]["widths"] == [12]
    assert (tmp_path / "synthetic.md").read_text().count("\n") == 4
    assert (tmp_path / "synthetic.svg").read_text().startswith("<svg")
    folder = done[0]
    show.mnist(study(folder, seeds=2), QUIET)
    assert (folder / "mnist.md").read_text().count("i-SpaSP") == 2 * len(WHEN)
    assert (folder / "mnist.svg").read_text().startswith("<svg")


def test_a_plot_is_the_same_for_the_same() -> None:
    curves = [{"width": 100, "p": 0.3, "residuals": [10.0**-i for i in range(100)]}]
    assert plots.synthetic(curves) == plots.synthetic(curves)


def idx(tensor: Tensor) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in tensor.shape)
    return bytes([0, 0, 8, tensor.dim()]) + sizes + tensor.to(torch.uint8).numpy().tobytes()


def test_the_commands_run(tmp_path: Path, monkeypatch) -> None:
    for part, pixels, labels in (("train", digits().train, "train_labels"), ("t10k", digits().test, "test_labels")):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels.view(-1, 6, 6)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(getattr(digits(), labels)))
    monkeypatch.setattr("niwaki.bench.ispasp.settings.FAST", QUICK)
    monkeypatch.setattr("niwaki.bench.ispasp.synthetic.Synthetic", partial(Synthetic, widths=(10,), ps=(0.5,)))
    out = ["--out", str(tmp_path / "out")]
    told = CliRunner().invoke(main, ["bench", "ispasp", "synthetic", "--matrices", "1", *out])
    assert told.exit_code == 0, told.output
    assert "10, 0.5" in told.output
    words = ["mnist", "--data", str(tmp_path), "--fast", "--bfloat16", "--seeds", "1", "--rival", "top_k", *out]
    told = CliRunner().invoke(main, ["bench", "ispasp", *words, "--images", "250", "--tune-lr", "0.03"])
    assert told.exit_code == 0, told.output
    assert "Top-K" in told.output
    assert "dense.bfloat16 False → True" in told.output
    found = read(tmp_path / "out")[0]
    assert found["images"] == [250, 200]
    assert (found["settings"]["tune"]["lr"], found["settings"]["dense"]["lr"]) == (0.03, QUICK.dense.lr)


def test_a_folder_without_mnist_is_told(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["bench", "ispasp", "mnist", "--data", str(tmp_path), "--out", str(tmp_path)])
    assert told.exit_code == 2
    assert "put the four files of MNIST there" in told.output
