"""From a genome to a living network and its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from niwaki.testing.fuzz import across, activations, attention, ends, layers, mixing, pieces, views, written
from niwaki.testing.fuzz.genome import Gene, Genome
from niwaki.testing.fuzz.pool import HEADS, KINDS, STEMS, Knobs, Size

ROOMS = (across, activations, attention, ends, layers, mixing, pieces, views, written)
"""Importing them fills the tables."""
LARGEST = 1600
"""More values than this in a sample, and a gene is left out: the networks must stay small."""
WIDEST = 48


@dataclass(frozen=True, eq=False)
class Specimen:
    """A network with its inputs. ``used``: the kinds of gene that found a place in it."""

    model: nn.Module
    inputs: Tensor
    used: tuple[str, ...]


class Network(nn.Module):
    """A stem, steps in a row, a head; what is put aside waits in a stack."""

    def __init__(self, stem: nn.Module, steps: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem, self.steps, self.head = stem, nn.ModuleList(steps), head

    def forward(self, x: Tensor) -> Tensor:
        aside: list[Tensor] = []
        x = self.stem(x)
        for step in self.steps:
            x = advance(step, x, aside)
        y: Tensor = self.head(x)
        return y


def advance(step: nn.Module, x: Tensor, aside: list[Tensor]) -> Tensor:
    """One step: most are called; some put the activations aside or take them back."""
    if isinstance(step, mixing.Save):
        aside.append(x)
    elif isinstance(step, mixing.Swap):
        x, aside[-1] = aside[-1], x
    elif isinstance(step, mixing.Join):
        x = step(x, aside.pop())
    else:
        x = step(x)
    return x


def build(genome: Genome) -> Specimen:
    """The network of a genome, in double precision, so that rounding is never mistaken for a fault."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would seed the accelerators too, which are not forked here.
        torch.default_generator.manual_seed(genome.seed)
        inputs = _inputs(genome)
        stem = _stem(genome.stem, inputs).double().eval()
        steps, used, x = _steps(genome.genes, stem(inputs))
        size = Size(tuple(x.shape[1:]))
        head = HEADS[genome.head.kind if size.form in HEADS[genome.head.kind].accepts else "pooled"]
        last = head.make(size, Knobs(genome.head.knobs))
        assert last is not None
        model = Network(stem, steps, last).double().eval()
        enliven(model)
    return Specimen(model, inputs, tuple(used))


def _inputs(genome: Genome) -> Tensor:
    """Two samples; the sizes of space and time meet the widths now and then, since equal sizes hide mistakes."""
    knobs = Knobs(genome.stem.knobs[3:])
    takes, length = STEMS[genome.stem.kind].accepts, knobs.of(4, 6, 8, 5)
    if takes == "pixels":
        return torch.randn(2, 3, length, knobs.of(length, 4), dtype=torch.double)
    if takes == "words":
        return torch.randint(ends.WORDS, (2, length))
    return torch.randn(2, length, 5, dtype=torch.double)


def _stem(gene: Gene, inputs: Tensor) -> nn.Module:
    shape = tuple(inputs.shape[1:]) if inputs.is_floating_point() else (inputs.shape[1], 1)
    stem = STEMS[gene.kind].make(Size(shape), Knobs(gene.knobs))
    assert stem is not None
    return stem


@torch.no_grad()
def _steps(genes: Sequence[Gene], x: Tensor) -> tuple[list[nn.Module], list[str], Tensor]:
    """The steps that fit, one after another, each tried on what the one before gave. What does not fit is left out."""
    steps: list[nn.Module] = []
    used: list[str] = []
    aside: list[Tensor] = []
    for gene in genes:
        step = _step(gene, x, aside)
        if step is None:
            continue
        step = step.double().eval()
        trial = list(aside)
        try:
            after = advance(step, x, trial)
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError):
            continue
        if _fits(after):
            steps.append(step)
            used.append(gene.kind)
            x, aside = after, trial
    return steps, used, x


def _step(gene: Gene, x: Tensor, aside: list[Tensor]) -> nn.Module | None:
    kind, size = KINDS[gene.kind], Size(tuple(x.shape[1:]))
    if size.form not in kind.accepts:
        return None
    try:
        step = kind.make(size, Knobs(gene.knobs))
    except (RuntimeError, ValueError):
        return None
    if isinstance(step, (mixing.Swap, mixing.Join)) and not aside:
        return None
    if isinstance(step, mixing.Join):
        return mixing.fitted(step, size, Size(tuple(aside[-1].shape[1:])))
    return step


def _fits(x: Tensor) -> bool:
    """Is this still an image or tokens, of a batch of two, not too large, and finite?"""
    sound = x.dim() in (3, 4) and x.shape[0] == 2 and x.is_floating_point() and x.dtype == torch.double
    if not sound or not 0 < x[0].numel() <= LARGEST:
        return False
    return Size(tuple(x.shape[1:])).width <= WIDEST and bool(x.isfinite().all()) and float(x.abs().max()) < 1e4


@torch.no_grad()
def enliven(model: nn.Module) -> None:
    """Draw every weight and statistic, because fresh norms and biases are all alike and hide mistakes."""
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and weight[0].numel() > 1:
            weight.normal_(std=weight[0].numel() ** -0.5)
        elif "bias" in name:
            # Rather positive: behind a ReLU, a bias far below zero would put the channel to death.
            weight.normal_(mean=0.4, std=0.2)
        else:
            weight.uniform_(0.5, 1.5)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
