"""``niwaki bench``. Thin, as all commands are: each imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path

import click

from niwaki.errors import BadInput
from niwaki.terminal import KEPT, stdout, traceback_option


def _usable(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    """The device, if something can be put on it."""
    if value != "cpu":
        import torch

        try:
            torch.zeros(1, device=value)
        except (RuntimeError, AssertionError) as trouble:
            said = str(trouble).splitlines()[0]
            raise BadInput(f"--device {value} cannot be used here ({said}); give cpu, or cuda with a GPU") from None
    return value


_device = click.option("--device", default="cpu", show_default=True, callback=_usable, help="cpu, cuda, …")


@click.group()
def bench() -> None:
    """Run comparisons of the literature again."""


@bench.command()
@click.option("--row", "rows", multiple=True, required=True, metavar="PATTERN", help="resnet56-0.9, vgg19-*, …")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of CIFAR-10 or CIFAR-100.")
@click.option("--base", type=click.Path(path_type=Path), required=True, help="Checkpoint of the dense network.")
@click.option(
    "--contestant", "contestants", multiple=True, metavar="NAME", help="greg1, l1, scratch, …; the usual ones."
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many runs of each.")
@click.option("--fast", is_flag=True, help="Shorter, with larger steps of growth; what it changes is told.")
@click.option("--epochs", type=click.IntRange(1), help="Of retraining, in place of the preset's.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/greg"), show_default=True)
@_device
@click.option("--minutes", type=float, help="Stop after so long; the same command goes on.")
@click.option("--images", type=click.IntRange(1), help="Use only so many images, to try it.")
@click.option("--compile", "compiled", is_flag=True, help="Train through torch.compile.")
@traceback_option
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

    ctx.meta[KEPT] = out
    settings = PRESETS["fast" if fast else "paper"]
    if epochs is not None:
        settings = replace(settings, epochs=epochs)
    names = contestants or USUAL
    order = Order(rows_like(rows), names, seeds, settings, data, base, out, device, minutes, images, compiled)
    stdout().print(drawn(compare(order)))


@bench.group()
def ispasp() -> None:
    """The figures of i-SpaSP, each with its own data and size."""


_ispasp_out = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/ispasp"), show_default=True
)


@ispasp.command()
@click.option(
    "--matrices", type=click.IntRange(1), default=3, show_default=True, help="Made-up matrices for each curve."
)
@click.option("--seed", default=0, show_default=True, help="Seed of all matrices.")
@_ispasp_out
@traceback_option
def synthetic(matrices: int, seed: int, out: Path) -> None:
    """Figure 2: what is lost on made-up matrices, for every number of units that stay.

    Ours beside the paper's; all values and the plot are written to the folder.
    """
    from niwaki.bench.ispasp import show
    from niwaki.bench.ispasp.synthetic import Synthetic

    stdout().print(show.synthetic(Synthetic(matrices=matrices, seed=seed), out))


@ispasp.command()
@click.option("--task", "name", required=True, help="sst2, rte, mrpc, nli, …; below NIWAKI_DATA/text.")
@click.option("--encoder", type=click.Path(path_type=Path), required=True, help="Folder, fine-tuned on the task.")
@click.option("--pruner", "pruners", multiple=True, metavar="NAME", help="ispasp, michel, uniform, …; all of them.")
@click.option("--kept", multiple=True, type=click.FloatRange(0, 1, True, True), default=(0.25, 0.4), show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many runs of each.")
@click.option("--epochs", type=click.IntRange(1), default=1, show_default=True, help="Of tuning after the cut.")
@click.option("--lr", default=5e-5, show_default=True, help="Its highest rate.")
@click.option("--rows", type=click.IntRange(2), help="Use only so many rows of the training part.")
@_ispasp_out
@traceback_option
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

    ctx.meta[KEPT] = out
    order = Heads(task(name), encoder, out, kept, pruners or tuple(PRUNERS), seeds, Settings(epochs, lr), rows)
    stdout().print(show.pruned_heads(order))


@ispasp.command()
@click.option("--channels", multiple=True, type=int, default=(64, 512), show_default=True, help="Of the blocks.")
@click.option("--kept", multiple=True, type=click.FloatRange(0, 1, True, True), default=(0.2, 0.4), show_default=True)
@click.option("--contestant", "contestants", multiple=True, metavar="NAME", help="ispasp, 'gfs 50', …; all of them.")
@click.option("--images", default=4, show_default=True, help="How many samples all of them look at.")
@_ispasp_out
@traceback_option
def time(
    channels: tuple[int, ...], kept: tuple[float, ...], contestants: tuple[str, ...], images: int, out: Path
) -> None:
    """Figure 1: how long it takes to prune one block of ResNet-34.

    A cell that was timed is not timed again; greedy selection of 512 channels takes most of an hour.
    """
    from niwaki.bench.ispasp import show
    from niwaki.bench.ispasp.timing import TIMED, Timing

    stdout().print(show.timed(Timing(out, channels, kept, images, contestants=contestants or tuple(TIMED))))


@ispasp.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder with the four files of MNIST.")
@click.option("--rival", "rivals", multiple=True, metavar="NAME", help="ispasp, top_k, gfs, random, …; all of them.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many wide networks.")
@click.option("--fast", is_flag=True, help="A tenth of the epochs at ten times the rate; what it changes is told.")
@click.option("--bfloat16", is_flag=True, help="Train with products in bfloat16.")
@click.option(
    "--tune-lr", type=float, help="First rate of tuning, which the paper does not tell; 0.001, or 0.01 if fast."
)
@_device
@click.option("--images", type=click.IntRange(1), help="Use only so many images, to try it.")
@_ispasp_out
@traceback_option
@click.pass_context
def mnist(
    ctx: click.Context, data: Path, rivals: tuple[str, ...], seeds: int, fast: bool, bfloat16: bool,
    tune_lr: float | None, device: str, images: int | None, out: Path,
) -> None:  # fmt: skip
    """Figure 3: a network of two layers on MNIST, pruned by i-SpaSP and its rivals, then tuned.

    Every job goes on where it was stopped. All results, their table and the plot are written to the folder.
    """
    from dataclasses import replace

    from niwaki.bench.ispasp import show
    from niwaki.bench.ispasp.rivals import RIVALS
    from niwaki.bench.ispasp.settings import FAST, PAPER, in_bfloat16
    from niwaki.bench.ispasp.study import Study
    from niwaki.vision.mnist import mnist as read

    ctx.meta[KEPT] = out
    settings = FAST if fast else PAPER
    digits = read(data) if images is None else read(data).first(images)
    settings = in_bfloat16(settings) if bfloat16 else settings
    if tune_lr is not None:
        settings = replace(settings, tune=replace(settings.tune, lr=tune_lr))
    stdout().print(show.mnist(Study(digits.to(device), settings, out, seeds, rivals or tuple(RIVALS))))


@bench.command()
@click.option("--task", "name", required=True, help="sst2, rte, mrpc, cola, …; wikitext2; below NIWAKI_DATA/text.")
@click.option(
    "--encoder", type=click.Path(file_okay=False, path_type=Path), required=True,
    help="Folder, pretrained; of a causal model for wikitext2.",
)  # fmt: skip
@click.option("--contestant", "contestants", multiple=True, metavar="NAME", help="imp, spur, gmp, …; the usual ones.")
@click.option(
    "--share", "shares", multiple=True, type=click.FloatRange(0, 1, True, True), default=(0.5, 0.7, 0.8, 0.9, 0.95),
    show_default=True, help="Of zeros, a round each.",
)  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many runs of each.")
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="Of each round.")
@click.option("--lr", default=5e-5, show_default=True, help="Highest rate of each round.")
@click.option("--rows", type=click.IntRange(2), help="Use only so many rows, or windows, of the training part.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/spur"), show_default=True)
@traceback_option
@click.pass_context
def spur(
    ctx: click.Context, name: str, encoder: Path, contestants: tuple[str, ...], shares: tuple[float, ...], seeds: int,
    epochs: int, lr: float, rows: int | None, out: Path,
) -> None:  # fmt: skip
    """SPUR beside iterative pruning, controls and gradual pruning: how good at which share of zeros, and in which
    pattern.

    Every job goes on where it was stopped. Factors are chosen on rows of the training part that are held out.
    """
    from niwaki.bench.spur import subjects, table
    from niwaki.bench.spur.contestants import USUAL
    from niwaki.bench.spur.study import Study
    from niwaki.text.tasks import task

    ctx.meta[KEPT] = out
    subject: subjects.Subject
    if name in subjects.TEXTS:
        subject = subjects.text(name, encoder, rows)
    else:
        subject = subjects.Classified(task(name), encoder, rows)
    study = Study(subject, out, shares, contestants or USUAL, seeds, epochs, lr)
    found = table.lines(study.run(), study.shares)
    title = f"{table.unit(subject.measure)} on {name} (seeds)"
    stdout().print(table.drawn(table.scores(found, study.shares, subject.measure), title))
    stdout().print(table.drawn(table.patterns(found, study.shares[-2:]), "where the surviving weights are"))


@bench.command()
@click.option("--network", "networks", multiple=True, metavar="NAME", help="ResNet-18, ViT-B/16, …; all eight.")
@click.option("--runtime", "runtimes", multiple=True, metavar="NAME", help="onnxruntime, openvino, …; all of them.")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(1), default=(1, 16), show_default=True)
@click.option(
    "--runs",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    help="Rounds at most; slow ones do five, and cells that are there keep theirs.",
)
@click.option("--minutes", type=float, help="Begin nothing after so long; the same command goes on.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/speed"), show_default=True)
@traceback_option
@click.pass_context
def speed(
    ctx: click.Context, networks: tuple[str, ...], runtimes: tuple[str, ...], batches: tuple[int, ...], runs: int,
    minutes: float | None, out: Path,
) -> None:  # fmt: skip
    """Fewer multiply-adds and measured speed: even widths, targets of multiply-adds and of latency, Torch-Pruning.

    One thread, all variants of a network in turns, medians. What was measured is not measured again.
    """
    from niwaki.bench.speed import table
    from niwaki.bench.speed.study import Study
    from niwaki.bench.speed.subjects import NETWORKS
    from niwaki.bench.tables import drawn
    from niwaki.measure import RUNTIMES

    ctx.meta[KEPT] = out
    study = Study(out, networks or NETWORKS, runtimes or tuple(RUNTIMES), batches, runs, minutes)
    found = study.run()
    stdout().print(drawn(table.rows(found, study.cells), "times as fast, times fewer multiply-adds; one thread"))
    for line in (*table.sums(found), *table.reasons(found)):
        click.echo(line)


@bench.group()
def scale() -> None:
    """What it costs to prune with several processes, and what is lost when they die."""


_scale_options = (
    click.option("--processes", multiple=True, type=click.IntRange(1), default=(1, 2, 4), show_default=True),
    click.option(
        "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/scale"), show_default=True
    ),
)


@scale.command()
@click.option("--network", "networks", multiple=True, metavar="NAME", help="ResNet-56, MiniLM-L6; both.")
@click.option("--runs", type=click.IntRange(1), default=40, show_default=True, help="Steps of each kind.")
@_scale_options[0]
@_scale_options[1]
@traceback_option
@click.pass_context
def steps(ctx: click.Context, networks: tuple[str, ...], runs: int, processes: tuple[int, ...], out: Path) -> None:
    """What the engine adds to a training step, under DistributedDataParallel and fully_shard.

    Steps without the engine and under GReg-1 and SPUR take turns. What was measured is not measured again.
    """
    from niwaki.bench.scale import table
    from niwaki.bench.scale.study import Study
    from niwaki.bench.scale.subjects import TIMED
    from niwaki.bench.tables import drawn

    ctx.meta[KEPT] = out
    found = Study(out, networks or TIMED, processes, runs).timed()
    stdout().print(drawn(table.added(found), "one thread a process"))
    click.echo(table.verdict(found))


@scale.command()
@click.option("--steps", "length", type=click.IntRange(1), default=60, show_default=True, help="Of each run.")
@_scale_options[0]
@_scale_options[1]
@traceback_option
@click.pass_context
def curves(ctx: click.Context, length: int, processes: tuple[int, ...], out: Path) -> None:
    """The loss of whole runs, with masks and cuts: as many processes as you like, the same curve."""
    from niwaki.bench.scale import table
    from niwaki.bench.scale.study import Study
    from niwaki.bench.tables import drawn

    ctx.meta[KEPT] = out
    found = Study(out, processes=processes, steps=length).followed()
    stdout().print(drawn(table.curves(found), f"on {', '.join(map(str, processes))} processes, DDP and FSDP2"))


@scale.command()
@click.option("--size", "sizes", multiple=True, metavar="NAME", help="0.4 B, 0.8 B, 1.5 B, 3 B; all of them.")
@click.option(
    "--scratch", type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Where checkpoints are written and removed, up to 12 GB; a temporary folder.",
)  # fmt: skip
@_scale_options[1]
@traceback_option
@click.pass_context
def memory(ctx: click.Context, sizes: tuple[str, ...], scratch: Path | None, out: Path) -> None:
    """Memory and time of a cut from disk to disk, against the size of the model.

    Models are made up, written, cut by `niwaki cut`, and removed. What was measured is not measured again.
    """
    from niwaki.bench.scale import table
    from niwaki.bench.scale.memory import SIZES, Memory
    from niwaki.bench.tables import drawn

    ctx.meta[KEPT] = out
    found = Memory(out, sizes or tuple(SIZES), scratch).run()
    stdout().print(drawn(table.memory(found), "to 70 % of the parameters, one thread"))
    click.echo(table.of_memory(found))


@scale.command()
@click.option(
    "--setting", "settings", multiple=True, metavar="NAME", help="alone, ddp, fsdp (2 ranks each), recipe; all."
)
@click.option("--method", "methods", multiple=True, metavar="NAME", help="greg1, spur, …; all of them.")
@click.option("--trials", type=click.IntRange(1), default=100, show_default=True, help="Of each method and setting.")
@click.option("--minutes", type=float, help="Begin no trial after so long; the same command goes on.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/faults"), show_default=True)
@traceback_option
@click.pass_context
def faults(
    ctx: click.Context, settings: tuple[str, ...], methods: tuple[str, ...], trials: int, minutes: float | None,
    out: Path,
) -> None:  # fmt: skip
    """Jobs that are killed at random points and started again: how many end with other weights than undisturbed ones?

    A rank or all of them are killed (SIGKILL), some in the middle of a savepoint; of some the newest file is damaged
    then. Trials that were made are not made again.
    """
    from niwaki.bench.scale import faults_table as table
    from niwaki.bench.scale.faults import SETTINGS, Order, run
    from niwaki.bench.scale.faults_job import METHODS
    from niwaki.bench.tables import drawn

    ctx.meta[KEPT] = out
    found = run(Order(out, settings or tuple(SETTINGS), methods or tuple(METHODS), trials, minutes))
    stdout().print(drawn(table.rows(found), "jobs that were killed and survived"))
    for name, told in table.figures(found).items():
        click.echo(table.sentence(name, told))


__all__ = ["bench"]
