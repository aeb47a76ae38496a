"""The command line: what each command prints, and that no mistake of a user's ends in a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import niwaki
from niwaki.cli import main
from tests.recipes.kitchen import GREG, TRAINED, project
from tests.report.sample import dense_in_full, greg, patterns, sample
from tests.sweeps.plots import Here, planted


def niwaki_(*words: object) -> Result:
    return CliRunner().invoke(main, [str(w) for w in words])


def ok(*words: object) -> str:
    result = niwaki_(*words)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words: object) -> str:
    """The one line of a refusal."""
    result = niwaki_(*words)
    assert result.exit_code == 2, result.output
    lines = result.output.splitlines()
    assert lines[-1].startswith("niwaki: ")
    assert not any("Traceback" in line for line in lines)
    return lines[-1]


LIGHT = """
import sys
from niwaki.cli import main
helps = [[command, "--help"] for command in ("prune", "sweep", "report")]
for words in (["--help"], ["--version"], *helps, ["bench", "ispasp", "--help"]):
    try:
        main(words)
    except SystemExit as end:
        assert end.code == 0
heavy = {"torch", "numpy", "matplotlib", "jinja2", "rich", "yaml"} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_python_dash_m() -> None:
    words = [sys.executable, "-m", "niwaki", "prune", "nowhere.yaml"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("niwaki: no recipe at nowhere.yaml")
    assert done.stderr.count("\n") == 1


def test_version_and_help() -> None:
    assert niwaki.__version__ in ok("--version")
    for command in ("demo", "prune", "explain", "methods", "report", "sweep"):
        assert command in ok("--help")
        assert "--traceback" in ok(command, "-h")


def test_prune_then_report(tmp_path: Path) -> None:
    path, _ = project(tmp_path, method=[{"name": "magnitude", "target": {"ratio": 0.5}}, GREG], **TRAINED)
    said = ok("prune", path, "--set", "method.0.label=L1 at once", "--out", tmp_path / "o ut")
    assert "L1 at once" in said
    assert "greg1: prune …" in said
    assert f"report: {tmp_path / 'o ut' / 'report.html'}" in said
    page = tmp_path / "o ut" / "report.html"
    page.unlink()
    said = ok("report", tmp_path / "o ut", tmp_path / "o ut" / "report.json")
    assert said.count("L1 at once") == 1  # one run, named twice
    assert "--set 'method.0.label=L1 at once'" in page.read_text().replace("&#39;", "'")


def test_prune_ends_with_1_if_a_certificate_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from niwaki.recipes import run
    from niwaki.surgery.certify import Certificate, Check

    broken = Certificate((Check("cut", "masked", "forward", 0.5, 1e-5),), "x", {})
    monkeypatch.setattr(run, "certify", lambda *a, **k: broken)
    result = niwaki_("prune", project(tmp_path)[0])
    assert result.exit_code == 1
    assert "niwaki: the certificate of magnitude does not hold; see " in result.output
    assert "FAILS" in result.output


def test_interruption_is_one_line(tmp_path: Path) -> None:
    stop = "\n\ndef stop(model, batch):\n    raise KeyboardInterrupt\n"
    path, _ = project(tmp_path, stop, **{**TRAINED, "loss": "@stop"}, method=GREG)
    result = niwaki_("prune", path)
    assert result.exit_code == 130
    assert (
        result.output.splitlines()[-1] == f"niwaki: interrupted; methods that were finished are in {tmp_path / 'out'}"
        "; the same command with --resume goes on"
    )


def test_an_interruption_before_the_run_is_noted_promises_nothing(tmp_path: Path) -> None:
    """``--resume`` would find nothing, or the run of another recipe, in the folder."""
    stop = "\n\ndef stop():\n    raise KeyboardInterrupt\n"
    path, _ = project(tmp_path, stop, model="@stop")
    result = niwaki_("prune", path)
    assert result.exit_code == 130
    assert result.output.splitlines()[-1] == "niwaki: interrupted; nothing was begun"


def test_an_interrupted_demo_tells_of_methods_only_if_there_are_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*words: object) -> int:
        raise KeyboardInterrupt

    show = types.ModuleType("niwaki.demo.show")
    show.run = stopped  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "niwaki.demo.show", show)
    assert niwaki_("demo", "--out", tmp_path).output == "niwaki: interrupted\n"
    (tmp_path / "run.json").write_text("{}")
    said = niwaki_("demo", "--out", tmp_path).output
    assert said == f"niwaki: interrupted; methods that were finished are in {tmp_path}\n"


def started(*words: object, encoding: str = "utf-8", **more: Any) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own, whose output has this encoding."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "niwaki", *map(str, words)]
    return subprocess.run(command, stderr=subprocess.PIPE, env=environment, check=False, **more)


def test_characters_that_the_output_lacks_are_replaced(tmp_path: Path) -> None:
    entries = [greg(label="GReg → 1", accuracy=None, latency=(), widths={})]
    sample(entries=entries, traces=[], curve=[]).save(tmp_path)
    (tmp_path / "report.html").unlink()
    done = started("report", tmp_path, encoding="latin-1", stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert "GReg ? 1" in done.stdout.decode("latin-1")
    assert "GReg → 1" in (tmp_path / "report.html").read_text(encoding="utf-8")
    done = started("methods", "greg1", encoding="cp1252", stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("cp1252").startswith("greg1(target")


def test_the_page_is_written_before_the_table_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample().save(tmp_path)
    (tmp_path / "report.html").unlink()

    def full(report: object) -> None:
        raise OSError("the terminal has gone")

    monkeypatch.setattr("niwaki.cli._show", full)
    assert "the terminal has gone" in refused("report", tmp_path)
    assert (tmp_path / "report.html").is_file()


def test_a_reader_that_stops_reading_is_no_mistake() -> None:
    """As in ``niwaki methods greg1 | true``."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = started("methods", "greg1", stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode != 2
    assert done.stderr == b""


def test_refusals_are_one_line(tmp_path: Path) -> None:
    path, module = project(tmp_path, model="@biuld")
    assert f"model: {module} has no 'biuld'; did you mean 'build'?" in refused("prune", path)
    assert "--set 'seed': write it as key.key=value" in refused("prune", path, "--set", "seed")
    (tmp_path / "file").write_text("")
    path, _ = project(tmp_path)
    assert "file" in refused("prune", path, "--out", tmp_path / "file")  # an OSError of ours, not a bug


def test_traceback_on_request(tmp_path: Path) -> None:
    for words in (["--traceback", "prune", "x.yaml"], ["prune", "x.yaml", "--traceback"]):
        result = niwaki_(*words)
        assert result.exit_code == 2
        assert "Traceback (most recent call last)" in result.output
        assert result.output.splitlines()[-1].startswith("niwaki: no recipe at x.yaml")


def test_explain_a_recipe(tmp_path: Path) -> None:
    path, _ = project(tmp_path)
    said = ok("explain", path)
    assert said.startswith("Sequential: 2 groups, 16 units; they reach 100% of the parameters")
    assert "  0: 8 × channel\n" in said
    kernel, image, output = (said.index(w) for w in ("the kernel's size", "the model's input", "the model's output"))
    assert kernel < image < output
    assert "0.weight[2], 0.weight[3], 3.weight[2], 3.weight[3] (648 entries)" in said
    assert "(and in 1 more places)" in said
    assert "the kernel's size (conv2d in module '0')" in said  # nobody's line: an nn.Sequential calls its layers itself


def test_explain_a_tensor(tmp_path: Path) -> None:
    path, _ = project(tmp_path)
    said = ok("explain", path, "0.weight", 0)
    assert "0.weight[0] (8 indices) of Sequential: prunable." in said
    assert "takes 3.weight[1], by conv2d" in said
    said = ok("explain", path, "8.weight", "--set", "model_args={width: 4}")
    assert "8.weight[0] (3 indices) of Sequential: blocked." in said
    assert "8.weight[1] (8 indices) of Sequential: prunable." in said
    assert "has no tensor '0.wieght'; did you mean '0.weight'?" in refused("explain", path, "0.wieght")
    assert "has 4 dimensions" in refused("explain", path, "0.weight", 7)


def test_explain_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, module = project(tmp_path)
    monkeypatch.chdir(tmp_path)
    for inputs in ("[[1, 1, 6, 6]]", f"{module}:inputs"):
        assert "2 groups" in ok("explain", f"{module}:build", "--inputs", inputs)
    assert "add --inputs module:function or --inputs '[[1, 3, 32, 32]]'" in refused("explain", f"{module}:build")
    assert "no recipe at build" in refused("explain", "build")


def test_methods() -> None:
    said = ok("methods")
    assert "greg1 " in said
    assert "One-shot magnitude pruning" in said
    card = ok("methods", "greg1")
    assert card.startswith("greg1(target, grow=0.0001, every=10")
    assert "When not:" in card
    assert "Departs from its paper:\n  - " in card
    assert "``" not in card
    assert "use\ngreg1." in ok("methods", "magnitude")
    assert "no method is called 'grag1'; did you mean 'greg1'?" in refused("methods", "grag1")


def test_networks_that_cannot_be_timed_end_with_status_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*words: Any) -> Any:
        raise RuntimeError("no such operator")

    monkeypatch.setattr("niwaki.recipes.run.latencies", failing)
    done = niwaki_("prune", project(tmp_path, measure={"runs": 1})[0])
    assert done.exit_code == 1
    said = "niwaki: the networks could not be timed; --resume tries it again: RuntimeError: no such operator"
    assert done.output.splitlines()[-1] == said
    assert f"report: {tmp_path / 'out' / 'report.html'}" in done.output


def test_orders_of_benchmarks_are_refused(tmp_path: Path) -> None:
    words = ["bench", "greg", "--row", "resnet56-0.9", "--data", tmp_path, "--base", tmp_path, "--out", tmp_path]
    assert "--device gpu cannot be used here (Expected one of cpu" in refused(*words, "--device", "gpu")
    done = niwaki_(*words, "--seeds", 0)
    assert (done.exit_code, "0 is not in the range x>=1" in done.output) == (2, True)
    for command in (["ispasp", "heads"], ["ispasp", "mnist"], ["spur"]):
        assert "[default: 3; x>=1]" in ok("bench", *command, "--help").replace("\n", " ").replace("  ", "")
    assert "cells that are there keep theirs" in " ".join(ok("bench", "speed", "--help").split())


def test_report_refused(tmp_path: Path) -> None:
    assert f"no report.json in {tmp_path}" in refused("report", tmp_path)
    sample().save(tmp_path)
    assert f"there is no folder {tmp_path / 'tyop'}; name one" in refused("report", tmp_path / "tyop")
    (tmp_path / "report.json").write_text("{")
    assert "is not JSON" in refused("report", tmp_path)


def two_runs(folder: Path) -> list[Path]:
    made = [folder / "imp", folder / "spur"]
    for place, strength in zip(made, (0.3, 1.5), strict=True):
        told = patterns(layers=1, strength=strength, sparsities=[0.5])
        entries = [greg(accuracy=None, latency=(), widths={})]
        sample(title=place.name, entries=entries, traces=[], curve=[], patterns=[told]).save(place)
    return made


def test_reports_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = two_runs(tmp_path)
    said = ok("report", *runs, "--out", tmp_path / "both" / "page.html")
    lines = [line for line in said.splitlines() if line.startswith(("report:", "compared:"))]
    assert lines == [
        *(f"report: {run / 'report.html'}" for run in runs), f"compared: {tmp_path / 'both' / 'page.html'}"
    ]  # fmt: skip
    page = (tmp_path / "both" / "page.html").read_text()
    assert "imp and spur, side by side" in page
    monkeypatch.chdir(tmp_path)
    assert ok("report", "imp", "spur/report.json", "imp").splitlines()[-1] == "compared: compared.html"
    assert (tmp_path / "compared.html").read_text() == page


def test_one_report_is_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = two_runs(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "compared" not in ok("report", run, run / "report.json", tmp_path / "spur" / ".." / "imp")
    for named in ([run], [run, run], [run, run / "report.json"]):
        said = niwaki_("report", *named, "--out", "page.html").output
        assert said.startswith("niwaki: --out names the page that compares reports: give it two folders or more")
        assert said.count("\n") == 1  # and no table before it
    before = (tmp_path / "spur" / "report.html").read_text()
    for bad in ("page.txt", "spur/report.html", "report.json"):
        assert "--out must be an .html file other than report.html" in refused("report", run, "spur", "--out", bad)
    assert (tmp_path / "spur" / "report.html").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["imp", "spur"]


def test_demo_is_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    show = types.ModuleType("niwaki.demo.show")
    show.run = lambda *words: asked.append(words) or 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "niwaki.demo.show", show)
    assert niwaki_("demo", "--out", tmp_path, "--seed", 4, "--fast").exit_code == 3
    assert asked == [(tmp_path, 4, True)]
    niwaki_("demo")
    assert asked[-1] == (Path("runs/demo"), 0, False)


def test_a_sweep_is_checked_listed_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = planted(tmp_path, seeds=2)
    said = ok("sweep", path, "--dry-run", "--set", "seeds=3")
    assert "3 trials in" in said
    assert "magnitude-ratio0.5-seed2" in said
    assert not (tmp_path / "swept").exists()
    here = Here({"magnitude-ratio0.5-seed1": -9})
    monkeypatch.setattr("niwaki.sweeps.run.runner_for", lambda asked: here)
    result = niwaki_("sweep", path, "--out", tmp_path / "o ut", "--workers", 3)
    assert result.exit_code == 1, result.output
    lines = result.output.splitlines()
    assert f"report: {tmp_path / 'o ut' / 'report.html'}" in lines
    assert "magnitude-ratio0.5-seed1: FAILED, killed by SIGKILL after 1 s" in lines
    assert lines[-2:] == [
        "niwaki: magnitude-ratio0.5-seed1 failed, killed by SIGKILL: the loss is nan",
        "niwaki: 1 failed; --retry-failed tries them again",
    ]
    here.crash = {}
    assert "1 of 2 trials were finished before, 1 failed" in ok(
        "sweep", path, "--out", tmp_path / "o ut", "--retry-failed", "--only", "*-seed1"
    )
    assert f"niwaki sweep {path} --out" in (tmp_path / "o ut" / "report.html").read_text()
    assert "2 trials are left to run" in ok(
        "sweep", path, "--out", tmp_path / "o ut", "--set", "seeds=4", "--only", "*1"
    )
    said = ok("sweep", path, "--out", tmp_path / "o ut", "--dry-run", "--only", "*-seed1")
    assert "1 trials in" in said
    assert "finished" in said
    other = refused("sweep", path, "--out", tmp_path / "o ut", "--dry-run", "--set", "set={optimizer.lr: 0.5}")
    assert "were run with another optimizer" in other
    patched = lambda *words: (_ for _ in ()).throw(RuntimeError("no"))  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr("niwaki.sweeps.run.time_all", patched)
        assert niwaki_("sweep", path, "--out", tmp_path / "o ut").exit_code == 1
    here = Here(stop=0)
    result = niwaki_("sweep", path, "--out", tmp_path / "again")
    assert result.exit_code == 130
    assert result.output.splitlines()[-1].endswith(f"finished are in {tmp_path / 'again'}; the same command goes on")


def test_sweeps_refused(tmp_path: Path) -> None:
    assert "no sweep at nowhere.yaml" in refused("sweep", "nowhere.yaml")
    path = planted(tmp_path, {"finetune": {"epochs": 1}}, over={"finetune.epochs": [1, 2]})
    assert "these trials cannot stand in one table: " in refused("sweep", path, "--dry-run")
    recipe = tmp_path / "recipe.yaml"
    assert f"is a recipe: niwaki prune {recipe}" in refused("sweep", recipe)
    assert f"is a sweep: niwaki sweep {path}" in refused("prune", path)
    (tmp_path / "sweep.json").write_text("{}")
    assert "is the folder of a sweep" in refused("report", tmp_path)
    why = "mixing={retraining: why}"
    said = ok("sweep", path, "--dry-run", "--set", why, "--workers", 2, "--ray", "auto")
    assert "--workers does nothing on a cluster" in said
    assert "no trial is called like 'x'" in refused("sweep", path, "--only", "x", "--set", "mixing={retraining: why}")


def test_runs_that_are_not_alike_are_shown_together_only_on_purpose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, weights, epochs in (("a", "5eed", 1), ("b", "0dd", 2)):
        settings = {"finetune": {"epochs": epochs}}
        sample(entries=[dense_in_full(weights=weights), greg()], settings=settings, traces=[], curve=[]).save(name)
    said = refused("report", "a", "b")
    assert "The runs do not begin with the same dense network" in said
    assert "The runs do not train their networks alike: a and b differ in finetune.epochs (1 and 2)" in said
    assert "--mixed" in said
    assert not Path("compared.html").exists()
    assert ok("report", "a", "b", "--mixed", "two budgets").splitlines()[-1] == "compared: compared.html"
    warning = Path("compared.html").read_text().split('class="warning"')[1].split("</section>")[0]
    assert "They are shown together on purpose: two budgets" in warning
    assert "differ in finetune.epochs" in warning
