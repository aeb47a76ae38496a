"""The command line. Thin: every command imports what it needs when it is called, so that ``--help`` is instant."""

from __future__ import annotations

import json
import shlex
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from niwaki import __version__
from niwaki.bench.commands import bench
from niwaki.errors import BadInput, NiwakiError
from niwaki.terminal import CONTINUES, KEPT, RESUMES, TRACEBACK, replace_unknown, stdout
from niwaki.terminal import traceback_option as _traceback

if TYPE_CHECKING:
    from niwaki.recipes import Recipe
    from niwaki.report import Report


class Doors(click.Group):
    """The commands, and one clean line for everything that is not a bug."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        replace_unknown()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever read the output has gone: click ends without a word
            raise
        except (NiwakiError, OSError) as trouble:
            if ctx.meta.get(TRACEBACK):
                traceback.print_exc()
            click.echo(f"niwaki: {' '.join(str(trouble).split())}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo(f"niwaki: interrupted{_what_is_left(ctx)}", err=True)
            ctx.exit(130)


def _what_is_left(ctx: click.Context) -> str:
    """What an interrupted command leaves behind, and how to go on."""
    if KEPT not in ctx.meta:
        return ""
    kept = ctx.meta[KEPT]
    if kept is None:
        return "; nothing was begun"
    what = "trials" if ctx.meta.get(CONTINUES) else "methods"
    more = "; the same command with --resume goes on" if ctx.meta.get(RESUMES) else ""
    more = "; the same command goes on" if ctx.meta.get(CONTINUES) else more
    return f"; {what} that were finished are in {kept}{more}"


@click.group(cls=Doors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="niwaki")
@_traceback
def main() -> None:
    """Prune PyTorch networks: really smaller, really faster, and proved to be the same model."""


main.add_command(bench)


@main.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Folder for the results.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option("--fast", is_flag=True, help="A shorter run, to see that everything works.")
@_traceback
@click.pass_context
def demo(ctx: click.Context, out: Path, seed: int, fast: bool) -> None:
    """Train, prune, certify and report a small network on images that come with the package."""
    from niwaki.demo.show import run

    try:
        ctx.exit(run(out, seed, fast))
    except KeyboardInterrupt:
        if (out / "run.json").is_file():  # until then the dense network is trained, and no method begun
            ctx.meta[KEPT] = out
        raise


@main.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "changes", multiple=True, metavar="KEY.KEY=VALUE", help="Change the recipe; may be repeated.")
@click.option("--fast", is_flag=True, help="Make the changes of the recipe's section 'fast' first; they are told.")
@click.option("--out", help="Folder for the results, in place of the recipe's.")
@click.option("--resume", is_flag=True, help="Go on where a run of this recipe was stopped.")
@_traceback
@click.pass_context
def prune(
    ctx: click.Context, recipe: Path, changes: tuple[str, ...], fast: bool, out: str | None, resume: bool
) -> None:
    """Carry out a RECIPE: prune, fine-tune, certify, save, measure, report.

    Ends with status 1 if a certificate does not hold, or the networks could not be timed at the end.
    """
    ctx.meta[KEPT], ctx.meta[RESUMES] = None, True
    asked = _load(recipe, changes, out, fast)
    from niwaki.recipes.run import run

    def begun() -> None:
        ctx.meta[KEPT] = asked.out

    words = [
        "niwaki",
        "prune",
        str(recipe),
        *(["--fast"] if fast else []),
        *(w for c in changes for w in ("--set", c)),
        *(["--out", out] if out else []),
    ]
    finished = run(asked, command=shlex.join(words), resume=resume, begun=begun)
    _show(finished.report)
    click.echo(f"report: {finished.page}")
    for label in finished.failing:
        click.echo(f"niwaki: the certificate of {label} does not hold; see {finished.page}", err=True)
    if finished.untimed:
        why = finished.untimed[-300:]
        click.echo(f"niwaki: the networks could not be timed; --resume tries it again: {why}", err=True)
    ctx.exit(1 if finished.failing or finished.untimed else 0)


@main.command()
@click.argument("sweep", type=click.Path(path_type=Path))
@click.option("--set", "changes", multiple=True, metavar="KEY.KEY=VALUE", help="Change the sweep; may be repeated.")
@click.option("--fast", is_flag=True, help="Make the changes of the recipe's section 'fast' first.")
@click.option("--out", help="Folder for the results, in place of the sweep's.")
@click.option(
    "--workers", type=click.IntRange(min=1),
    help="Trials at a time on this machine; by default one a GPU, or what its cores carry.",
)  # fmt: skip
@click.option(
    "--ray", "address", metavar="ADDRESS", help="Run the trials on this Ray cluster: auto, HOST:PORT, ray://…."
)
@click.option("--only", default="*", metavar="PATTERN", help="Run the trials of these names only, such as 'greg1-*'.")
@click.option("--retry-failed", is_flag=True, help="Try trials again that failed.")
@click.option("--dry-run", is_flag=True, help="Check all trials, list them, and stop.")
@_traceback
@click.pass_context
def sweep(
    ctx: click.Context,
    sweep: Path,
    changes: tuple[str, ...],
    fast: bool,
    out: str | None,
    workers: int | None,
    address: str | None,
    only: str,
    retry_failed: bool,
    dry_run: bool,
) -> None:
    """Run all trials of a SWEEP: methods × targets × settings × seeds of one recipe, from one dense network.

    Each trial is a process of its own, here or on a Ray cluster; one that crashes costs only itself. The same command
    goes on after a stop. It ends in one page: means over seeds, and what accuracy can be had at which cost.

    Ends with status 1 if a trial failed, a certificate does not hold, or networks could not be timed at the end; trials
    that are left, as with --only, are no failure.
    """
    from niwaki.recipes.reading import quoted
    from niwaki.sweeps import Sweep

    words = (("out", None if out is None else quoted(out)), ("workers", workers))
    own = [f"{key}={value}" for key, value in words if value is not None]
    asked = Sweep.load(sweep, [*changes, *own], fast)
    from niwaki.sweeps import showing
    from niwaki.sweeps.ledger import Ledger
    from niwaki.sweeps.run import Options, checked, matching, run, with_cluster

    asked = asked if address is None else with_cluster(asked, address)
    if workers is not None and asked.cluster is not None:
        click.echo(
            "niwaki: --workers does nothing on a cluster, where Ray schedules; ray.cpus sets how many fit", err=True
        )
    if dry_run:
        trials = checked(asked, only)
        Ledger(Path(asked.out)).require_same(trials)
        stdout().print(showing.listed(asked, matching(trials, only)))
        return
    ctx.meta[KEPT], ctx.meta[CONTINUES] = Path(asked.out), True
    given = ["niwaki", "sweep", str(sweep), *(["--fast"] if fast else []), *(w for c in changes for w in ("--set", c))]
    command = shlex.join([*given, *(["--out", out] if out else [])])
    found = run(asked, Options(only, retry_failed, command))
    if found.told is not None:
        stdout().print(showing.means(found.told))
        click.echo(f"report: {found.page}")
    for line in showing.troubles(found):
        click.echo(f"niwaki: {line}", err=True)
    ctx.exit(1 if found.failed or found.untimed or (found.told is not None and found.told.failing) else 0)


@main.command()
@click.argument("what", metavar="RECIPE|MODULE:FUNCTION")
@click.option(
    "--inputs", "-i", help="For MODULE:FUNCTION: module:function of the inputs, or shapes: '[[1, 3, 32, 32]]'."
)
@click.option("--runtime", multiple=True, help="pytorch, compile, onnxruntime or openvino; may be repeated.")
@click.option("--threads", type=click.IntRange(min=1), help="Of the CPU, in place of the recipe's.")
@click.option("--set", "changes", multiple=True, metavar="KEY.KEY=VALUE", help="Change the recipe; may be repeated.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="A file for all of it, as JSON.")
@_traceback
def forecast(
    what: str,
    inputs: str | None,
    runtime: tuple[str, ...],
    threads: int | None,
    changes: tuple[str, ...],
    out: Path | None,
) -> None:
    """How fast a model's pruned networks will be, on this machine, before any training.

    Layers are timed alone at a ladder of widths, which is kept for the next time, and a few networks whole.
    """
    asked = _asked(what, inputs, changes)
    from niwaki.recipes.foresight import Foresight, foresee, save
    from niwaki.recipes.foresight_tables import tables

    console = stdout()

    def show(one: Foresight) -> None:
        for part in tables(one):
            console.print(part, markup=False)

    found = foresee(asked, runtime, threads, told=show)
    if out is not None:
        click.echo(f"all of it: {save(found, out)}")


@main.command()
@click.argument("what", metavar="RECIPE|MODULE:FUNCTION")
@click.argument("tensor", required=False)
@click.argument("dim", required=False, type=int)
@click.option(
    "--inputs", "-i", help="For MODULE:FUNCTION: module:function of the inputs, or shapes: '[[1, 3, 32, 32]]'."
)
@click.option("--set", "changes", multiple=True, metavar="KEY.KEY=VALUE", help="Change the recipe; may be repeated.")
@_traceback
def explain(what: str, tensor: str | None, dim: int | None, inputs: str | None, changes: tuple[str, ...]) -> None:
    """What of a model can be pruned, and why the rest cannot.

    With TENSOR (and DIM): the verdict on that tensor, with the operations that led to it.
    """
    asked = _asked(what, inputs, changes)
    from niwaki.recipes import telling
    from niwaki.recipes.borrowed import importing_from
    from niwaki.recipes.ingredients import model_and_inputs
    from niwaki.tracing import trace

    with importing_from(asked.folder):
        graph = trace(*model_and_inputs(asked))
    click.echo(telling.overview(graph) if tensor is None else telling.tensor(graph, tensor, dim))


@main.command()
@click.argument("source", type=click.Path(file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--target", required=True, help="As in a recipe: 'params: 0.7', '{ratio: 0.3, only: \"*mlp*\"}', ….")
@click.option("--score", default="L1", show_default=True, help="L1, L2 or Random.")
@click.option(
    "--shard-gb",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="What a new file of weights holds at most.",
)
@_traceback
def cut(source: Path, out: Path, target: str, score: str, shard_gb: float) -> None:
    """From a folder of Hugging Face's, SOURCE, to a smaller one, OUT, by the weights alone.

    Nothing is held in memory but a tensor and a shard, so that a model of any size can be cut. Accuracy falls: tune the
    result, or take a method that looks at data while the model still fits.
    """
    from niwaki.recipes.shrinking import shrink

    click.echo(shrink(source, out, target, score, shard_gb))


@main.command()
@click.argument("name", required=False)
@_traceback
def methods(name: str | None) -> None:
    """List the pruning methods, or show the card of one."""
    from niwaki.recipes import telling

    click.echo(telling.catalogue() if name is None else telling.card(name))


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--model", metavar="MODULE:FUNCTION", help="Builds the dense model, of any weights; it is cut and filled."
)
@click.option(
    "--dense",
    metavar="MODULE:FUNCTION|FILE|FOLDER",
    help="The dense model with its weights, to make the certificate again: a function, a .safetensors file for "
    "--model, or a folder of transformers.",
)
@click.option("--inputs", "-i", help="Further inputs: module:function, or shapes: '[[1, 3, 32, 32]]'.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of ONNX Runtime and OpenVINO."
)
@click.option("--trust-recipe", is_flag=True, help="Build the model by the function that the folder names, unseen.")
@click.option("--trust-pt2", is_flag=True, help="Let torch.export.load read model.pt2, which can run code out of it.")
@click.option("--json", "as_json", is_flag=True, help="All findings as JSON, in place of lines.")
@_traceback
@click.pass_context
def certify(ctx: click.Context, folder: Path, as_json: bool, **words: Any) -> None:
    """Check a FOLDER that niwaki prune or nk.deliver wrote, wherever it came to lie.

    \b
    - hashes: every file has the size and the SHA-256 that manifest.json lists
    - fit: model.safetensors has the shapes that plan.json leaves
    - answers: the model, and model.onnx, model.xml and model.pt2, answer the
      inputs in examples.safetensors as the model did when it was delivered
    - certificate: made again, if the dense model is given

    A folder of transformers needs no more than that. A model of your own takes the function that builds it, dense; for
    instance, in a folder that holds garden.py:

    \b
        niwaki certify runs/mine/greg1 --model garden:build
        niwaki certify runs/mine/greg1 --model garden:build --dense dense.safetensors

    What could not be checked is listed, with what to install or to give. Ends with status 0 if all that was checked
    holds, and the hashes and at least one comparison of answers were checked; with 1 if not; with 2 if it is no such
    folder. Nothing in the folder is unpickled or run. Hashes tell damage, not malice: compare the digest of the
    manifest, which is shown at the end, with the one that its maker tells you.
    """
    from niwaki.recipes.inspection import Asked, inspect
    from niwaki.recipes.progress import Teller

    with Teller(quiet=not sys.stderr.isatty()).wait(f"check {folder}"):
        verdict = inspect(Asked(folder, **words))
    click.echo(json.dumps(verdict.to_json(), indent=2, ensure_ascii=False) if as_json else str(verdict))
    ctx.exit(0 if verdict.holds else 1)


@main.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With two folders or more: the page that compares them, in place of compared.html.",
)
@click.option(
    "--mixed", default="", metavar="WHY", help="Show runs together that are not alike; WHY stands on the page."
)
@_traceback
def report(folders: tuple[Path, ...], out: Path | None, mixed: str) -> None:
    """Print the table of each FOLDER's report.json and write its report.html anew.

    With two folders or more, also write one page that shows all of them, with their patterns side by side. Runs that
    began with different dense networks, were trained or judged differently are refused, unless --mixed says why.
    """
    from niwaki.report import Report, together

    if out is not None and (out.suffix != ".html" or out.name == "report.html"):
        raise BadInput(f"--out must be an .html file other than report.html, which is the page of one run; not {out}")
    places = _places(folders)
    if out is not None and len(places) < 2:
        raise BadInput(
            "--out names the page that compares reports: give it two folders or more, each of another run; found "
            f"{next(iter(places.values()))} alone"
        )
    found: dict[Path, Report] = {}
    for key, place in places.items():
        one = found[key] = Report.load(place)
        page = one.save(place)  # before the table, which a terminal may not take
        _show(one)
        click.echo(f"report: {page}")
    if len(found) > 1:
        reports = dict(zip(together.short_names(list(found)), found.values(), strict=True))
        click.echo(f"compared: {together.save(reports, out or Path('compared.html'), mixed)}")


def _places(folders: tuple[Path, ...]) -> dict[Path, Path]:
    """The folder of each run, once, in the words of whoever named it first."""
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.exists():
            raise BadInput(f"there is no folder {folder}; name one that niwaki prune or niwaki demo has written")
        place = folder if folder.is_dir() else folder.parent
        if (place / "sweep.json").is_file():
            raise BadInput(
                f"{place} is the folder of a sweep, whose page niwaki sweep writes; its trials have reports of their "
                f"own: niwaki report {place / 'trials'}/*"
            )
        if not (place / "report.json").is_file():
            raise BadInput(f"no report.json in {place}; niwaki prune and niwaki demo write one into their --out folder")
        found.setdefault(place.resolve(), place)
    return found


def _load(path: Path, changes: tuple[str, ...], out: str | None, fast: bool = False) -> Recipe:
    from niwaki.recipes import Recipe
    from niwaki.recipes.reading import quoted

    return Recipe.load(path, [*changes, *([f"out={quoted(out)}"] if out is not None else [])], fast)


def _asked(what: str, inputs: str | None, changes: tuple[str, ...]) -> Recipe:
    """The recipe, or one made up for a bare module:function."""
    from niwaki.recipes import Recipe
    from niwaki.recipes.reading import override, parse

    if ":" not in what or Path(what).is_file():
        return _load(Path(what), (*changes, *([f"inputs={inputs}"] if inputs else [])), None)
    if inputs is None:
        raise BadInput(
            f"to trace {what} it must be run once: add --inputs module:function or --inputs '[[1, 3, 32, 32]]'"
        )
    half = {"name": "magnitude", "target": {"ratio": 0.5}}
    made = {"model": what, "inputs": parse(inputs, "--inputs"), "method": half, "out": "."}
    return Recipe.read(override(made, changes))


def _show(report: Report) -> None:
    stdout().print(report.summary())
