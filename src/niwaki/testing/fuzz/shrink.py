"""A faulty genome made small: genes taken out and numbers set to zero for as long as the fault stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from niwaki.testing.fuzz.genome import Gene, Genome
from niwaki.testing.fuzz.trial import Outcome, attempt

TRIALS = 150
"""Enough for nine genes several times over; a fault that needs more is small enough."""


def shrink(
    genome: Genome, outcome: Outcome, trial: Callable[[Genome], Outcome] = attempt, trials: int = TRIALS
) -> tuple[Genome, Outcome]:
    """The smallest genome found by taking the first simplification that keeps the fault, again and again."""
    left = trials
    while True:
        for simpler in simplifications(genome):
            if left == 0:
                return genome, outcome
            left -= 1
            found = trial(simpler)
            if found.fault and found.kind == outcome.kind:
                genome, outcome = simpler, found
                break
        else:
            return genome, outcome


def simplifications(genome: Genome) -> Iterator[Genome]:
    """Genomes that are a step simpler: a gene less, then a plainer gene, stem or head."""
    genes = genome.genes
    for k in range(len(genes)):
        yield genome.with_genes(genes[:k] + genes[k + 1 :])
    for k, gene in enumerate(genes):
        for plainer in _plainer(gene):
            yield genome.with_genes((*genes[:k], plainer, *genes[k + 1 :]))
    for plainer in _plainer(genome.stem):
        yield replace(genome, stem=plainer)
    for plainer in _plainer(genome.head):
        yield replace(genome, head=plainer)


def _plainer(gene: Gene) -> Iterator[Gene]:
    if any(gene.knobs):
        yield Gene(gene.kind)
    for k, number in enumerate(gene.knobs):
        if number:
            yield replace(gene, knobs=(*gene.knobs[:k], 0, *gene.knobs[k + 1 :]))
