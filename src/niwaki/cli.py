"""The command line. Thin: every command imports what it needs when it is called, so that ``--help`` is instant."""

from __future__ import annotations

import shlex
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from niwaki import __version__
from niwaki.errors import BadInput, NiwakiError

if TYPE_CHECKING:
    from rich.console import Console

    from niwaki.recipes import Recipe
    from niwaki.report import Report

_TRACEBACK = "niwaki.traceback"
_KEPT = "niwaki.kept"
_WIDE = 160  # columns of a table that is piped into a file


class Doors(click.Group):
    """The commands, and one clean line for everything that is not a bug."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (NiwakiError, OSError) as trouble:
            if ctx.meta.get(_TRACEBACK):
                traceback.print_exc()
            click.echo(f"niwaki: {' '.join(str(trouble).split())}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            kept = ctx.meta.get(_KEPT)
            click.echo(
                "niwaki: interrupted" + (f"; methods that were finished are in {kept}" if kept else ""), err=True
            )
            ctx.exit(130)


def _remember(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[_TRACEBACK] = True


_traceback = click.option(
    "--traceback", is_flag=True, expose_value=False, callback=_remember, help="On an error, show where it came from."
)


@click.group(cls=Doors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="niwaki")
@_traceback
def main() -> None:
    """Prune PyTorch networks: really smaller, really faster, and proved to be the same model."""


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

    ctx.meta[_KEPT] = out
    ctx.exit(run(out, seed, fast))


@main.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "changes", multiple=True, metavar="KEY.KEY=VALUE", help="Change the recipe; may be repeated.")
@click.option("--fast", is_flag=True, help="Make the changes of the recipe's section 'fast' first; they are told.")
@click.option("--out", help="Folder for the results, in place of the recipe's.")
@_traceback
@click.pass_context
def prune(ctx: click.Context, recipe: Path, changes: tuple[str, ...], fast: bool, out: str | None) -> None:
    """Carry out a RECIPE: prune, fine-tune, certify, save, measure, report.

    Ends with status 1 if a certificate does not hold.
    """
    asked = _load(recipe, changes, out, fast)
    ctx.meta[_KEPT] = asked.out
    from niwaki.recipes.run import run

    words = [
        "niwaki",
        "prune",
        str(recipe),
        *(["--fast"] if fast else []),
        *(w for c in changes for w in ("--set", c)),
        *(["--out", out] if out else []),
    ]
    finished = run(asked, command=shlex.join(words))
    _show(finished.report)
    click.echo(f"report: {finished.page}")
    for label in finished.failing:
        click.echo(f"niwaki: the certificate of {label} does not hold; see {finished.page}", err=True)
    ctx.exit(1 if finished.failing else 0)


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
@click.argument("name", required=False)
@_traceback
def methods(name: str | None) -> None:
    """List the pruning methods, or show the card of one."""
    from niwaki.recipes import telling

    click.echo(telling.catalogue() if name is None else telling.card(name))


@main.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With two folders or more: the page that compares them, in place of compared.html.",
)
@_traceback
def report(folders: tuple[Path, ...], out: Path | None) -> None:
    """Print the table of each FOLDER's report.json and write its report.html anew.

    With two folders or more, also write one page that shows all of them, with their patterns side by side.
    """
    from niwaki.report import Report, together

    if out is not None and (out.suffix != ".html" or out.name == "report.html"):
        raise BadInput(f"--out must be an .html file other than report.html, which is the page of one run; not {out}")
    found: dict[Path, Report] = {}
    for folder in folders:
        place = folder if folder.is_dir() else folder.parent
        if not (place / "report.json").is_file():
            raise BadInput(f"no report.json in {place}; niwaki prune and niwaki demo write one into their --out folder")
        one = found[place.resolve()] = Report.load(place)
        _show(one)
        click.echo(f"report: {one.save(place)}")
    if len(found) > 1:
        reports = dict(zip(together.short_names(list(found)), found.values(), strict=True))
        click.echo(f"compared: {together.save(reports, out or Path('compared.html'))}")
    elif out is not None:
        raise BadInput("--out names the page that compares reports: give it two folders or more")


@main.group()
def bench() -> None:
    """Run comparisons of the literature again."""


@bench.command()
@click.option("--row", "rows", multiple=True, required=True, metavar="PATTERN", help="resnet56-0.9, vgg19-*, …")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of CIFAR-10 or CIFAR-100.")
@click.option("--base", type=click.Path(path_type=Path), required=True, help="Checkpoint of the dense network.")
@click.option(
    "--contestant", "contestants", multiple=True, metavar="NAME", help="greg1, l1, scratch, …; the usual ones."
)
@click.option("--seeds", default=3, show_default=True, help="How many runs of each.")
@click.option("--fast", is_flag=True, help="Shorter, with larger steps of growth; what it changes is told.")
@click.option("--epochs", type=click.IntRange(1), help="Of retraining, in place of the preset's.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/greg"), show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, …")
@click.option("--minutes", type=float, help="Stop after so long; the same command goes on.")
@click.option("--images", type=click.IntRange(1), help="Use only so many images, to try it.")
@click.option("--compile", "compiled", is_flag=True, help="Train through torch.compile.")
@_traceback
@click.pass_context
def greg(
    ctx: click.Context, rows: tuple[str, ...], data: Path, base: Path, contestants: tuple[str, ...], seeds: int,
    fast: bool, epochs: int | None, out: Path, device: str, minutes: float | None, images: int | None,
    compiled: bool,
) -> None:  # fmt: skip
    """GReg-1 and GReg-2 beside one-shot L1 and training from scratch, on the paper's networks.

    Every job goes on where it was stopped. The table is written to the folder as table.json and table.md.
    """
    from dataclasses import replace

    from niwaki.bench.greg.contestants import USUAL
    from niwaki.bench.greg.rows import rows_like
    from niwaki.bench.greg.run import Order, compare
    from niwaki.bench.greg.settings import PRESETS
    from niwaki.bench.greg.table import drawn

    ctx.meta[_KEPT] = out
    settings = PRESETS["fast" if fast else "paper"]
    if epochs is not None:
        settings = replace(settings, epochs=epochs)
    names = contestants or USUAL
    order = Order(rows_like(rows), names, seeds, settings, data, base, out, device, minutes, images, compiled)
    _stdout().print(drawn(compare(order)))


@bench.group()
def ispasp() -> None:
    """The figures of i-SpaSP, each with its own data and size."""


_ispasp_out = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/ispasp"), show_default=True
)


@ispasp.command()
@click.option("--matrices", default=3, show_default=True, help="Made-up matrices for each curve.")
@click.option("--seed", default=0, show_default=True, help="Seed of all matrices.")
@_ispasp_out
@_traceback
def synthetic(matrices: int, seed: int, out: Path) -> None:
    """Figure 2: what is lost on made-up matrices, for every number of units that stay.

    Ours beside the paper's; all values and the plot are written to the folder.
    """
    from niwaki.bench.ispasp import show
    from niwaki.bench.ispasp.synthetic import Synthetic

    _stdout().print(show.synthetic(Synthetic(matrices=matrices, seed=seed), out))


@ispasp.command()
@click.option("--task", "name", required=True, help="sst2, rte, mrpc, nli, …; below NIWAKI_DATA/text.")
@click.option("--encoder", type=click.Path(path_type=Path), required=True, help="Folder, fine-tuned on the task.")
@click.option("--pruner", "pruners", multiple=True, metavar="NAME", help="ispasp, michel, uniform, …; all of them.")
@click.option("--kept", multiple=True, type=click.FloatRange(0, 1, True, True), default=(0.25, 0.4), show_default=True)
@click.option("--seeds", default=3, show_default=True, help="How many runs of each.")
@click.option("--epochs", type=click.IntRange(1), default=1, show_default=True, help="Of tuning after the cut.")
@click.option("--lr", default=5e-5, show_default=True, help="Its highest rate.")
@click.option("--rows", type=click.IntRange(2), help="Use only so many rows of the training part.")
@_ispasp_out
@_traceback
@click.pass_context
def heads(
    ctx: click.Context, name: str, encoder: Path, pruners: tuple[str, ...], kept: tuple[float, ...], seeds: int,
    epochs: int, lr: float, rows: int | None, out: Path,
) -> None:  # fmt: skip
    """Table 2: heads of an encoder, chosen by i-SpaSP, by Michel et al. and at random, then tuned.

    A cell that is there is not made again.
    """
    from niwaki.bench.ispasp import show
    from niwaki.bench.ispasp.heads import PRUNERS, Heads
    from niwaki.text.finetuning import Settings
    from niwaki.text.tasks import task

    ctx.meta[_KEPT] = out
    order = Heads(task(name), encoder, out, kept, pruners or tuple(PRUNERS), seeds, Settings(epochs, lr), rows)
    _stdout().print(show.pruned_heads(order))


@ispasp.command()
@click.option("--channels", multiple=True, type=int, default=(64, 512), show_default=True, help="Of the blocks.")
@click.option("--kept", multiple=True, type=click.FloatRange(0, 1, True, True), default=(0.2, 0.4), show_default=True)
@click.option("--contestant", "contestants", multiple=True, metavar="NAME", help="ispasp, 'gfs 50', …; all of them.")
@click.option("--images", default=4, show_default=True, help="How many samples all of them look at.")
@_ispasp_out
@_traceback
def time(
    channels: tuple[int, ...], kept: tuple[float, ...], contestants: tuple[str, ...], images: int, out: Path
) -> None:
    """Figure 1: how long it takes to prune one block of ResNet-34.

    A cell that was timed is not timed again; greedy selection of 512 channels takes most of an hour.
    """
    from niwaki.bench.ispasp import show
    from niwaki.bench.ispasp.timing import TIMED, Timing

    _stdout().print(show.timed(Timing(out, channels, kept, images, contestants=contestants or tuple(TIMED))))


@ispasp.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder with the four files of MNIST.")
@click.option("--rival", "rivals", multiple=True, metavar="NAME", help="ispasp, top_k, gfs, random; all of them.")
@click.option("--seeds", default=3, show_default=True, help="How many wide networks.")
@click.option("--fast", is_flag=True, help="A tenth of the epochs at ten times the rate; what it changes is told.")
@click.option("--bfloat16", is_flag=True, help="Train with products in bfloat16.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, …")
@click.option("--images", type=click.IntRange(1), help="Use only so many images, to try it.")
@_ispasp_out
@_traceback
@click.pass_context
def mnist(
    ctx: click.Context, data: Path, rivals: tuple[str, ...], seeds: int, fast: bool, bfloat16: bool, device: str,
    images: int | None, out: Path,
) -> None:  # fmt: skip
    """Figure 3: a network of two layers on MNIST, pruned by i-SpaSP and its rivals, then tuned.

    Every job goes on where it was stopped. All results, their table and the plot are written to the folder.
    """
    from niwaki.bench.ispasp import show
    from niwaki.bench.ispasp.rivals import RIVALS
    from niwaki.bench.ispasp.settings import FAST, PAPER, in_bfloat16
    from niwaki.bench.ispasp.study import Study
    from niwaki.vision.mnist import mnist as read

    ctx.meta[_KEPT] = out
    settings = FAST if fast else PAPER
    digits = read(data) if images is None else read(data).first(images)
    settings = in_bfloat16(settings) if bfloat16 else settings
    _stdout().print(show.mnist(Study(digits.to(device), settings, out, seeds, rivals or tuple(RIVALS))))


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
    made = {"model": what, "inputs": parse(inputs, "--inputs"), "method": "magnitude", "out": "."}
    return Recipe.read(override(made, changes))


def _show(report: Report) -> None:
    _stdout().print(report.summary())


def _stdout() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _WIDE)
