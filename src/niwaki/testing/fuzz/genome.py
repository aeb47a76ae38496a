"""A network as a value: a few genes, drawn from a seed, that print in one line and come back from it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from niwaki.testing.fuzz.pool import HEADS, KINDS, STEMS, Kind

KNOBS = 6
"""Numbers that a gene carries; what they mean is its kind's affair."""
RANGE = 60
"""Knobs lie below this: a multiple of all small counts, so that a remainder picks every option equally often."""


@dataclass(frozen=True)
class Gene:
    """One step of a network: its kind, and the numbers that settle its details. All zeros is the plainest form."""

    kind: str
    knobs: tuple[int, ...] = (0,) * KNOBS

    def __str__(self) -> str:
        told = list(self.knobs)
        while told and not told[-1]:
            told.pop()
        return self.kind + (":" + ",".join(map(str, told)) if told else "")

    @staticmethod
    def parse(text: str) -> Gene:
        """Read what ``str`` wrote."""
        kind, _, numbers = text.partition(":")
        knobs = [int(n) for n in numbers.split(",") if n]
        return Gene(kind, tuple(knobs + [0] * (KNOBS - len(knobs))))


@dataclass(frozen=True)
class Genome:
    """A network: a stem, genes, a head, and the seed of its weights and inputs."""

    seed: int
    stem: Gene
    genes: tuple[Gene, ...]
    head: Gene

    def __str__(self) -> str:
        return " > ".join([f"{self.seed}", *map(str, (self.stem, *self.genes, self.head))])

    @staticmethod
    def parse(text: str) -> Genome:
        """Read what ``str`` wrote."""
        seed, stem, *genes, head = (part.strip() for part in text.split(">"))
        return Genome(int(seed), Gene.parse(stem), tuple(map(Gene.parse, genes)), Gene.parse(head))

    def with_genes(self, genes: Sequence[Gene]) -> Genome:
        """The same network with other genes."""
        return replace(self, genes=tuple(genes))

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "stem": [self.stem.kind, list(self.stem.knobs)],
            "genes": [[gene.kind, list(gene.knobs)] for gene in self.genes],
            "head": [self.head.kind, list(self.head.knobs)],
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Genome:
        """Read what ``to_json`` gave."""
        stem, *genes, head = (Gene(k, tuple(n)) for k, n in [data["stem"], *data["genes"], data["head"]])
        return Genome(data["seed"], stem, tuple(genes), head)


def draw(seed: int) -> Genome:
    """The genome of a seed: the same one on every machine."""
    dice = random.Random(f"niwaki {seed}")
    stem = dice.choice(sorted(STEMS))
    form = STEMS[stem].gives
    genes: list[Gene] = []
    aside = 0
    for _ in range(dice.randint(2, 8)):
        kind = _kind(dice, form, aside > 0)
        form = kind.gives or form
        aside += {"save": 1, "join": -1}.get(kind.name, 0)
        genes.append(Gene(kind.name, _knobs(dice)))
    if aside and dice.random() < 0.7:
        genes.append(Gene("join", _knobs(dice)))
    heads = sorted(name for name, head in HEADS.items() if form in head.accepts)
    return Genome(seed, Gene(stem, _knobs(dice)), tuple(genes), Gene(dice.choice(heads), _knobs(dice)))


def _kind(dice: random.Random, form: str, aside: bool) -> Kind:
    """A kind that takes this form, layers that can be pruned rather often; what is put aside is likely taken back."""
    fitting = [k for k in KINDS.values() if form in k.accepts and (aside or k.name not in ("swap", "join"))]
    weights = [kind.weight * (5 if kind.name in ("swap", "join") else 1) for kind in fitting]
    return dice.choices(fitting, weights)[0]


def _knobs(dice: random.Random) -> tuple[int, ...]:
    return tuple(dice.randrange(RANGE) for _ in range(KNOBS))
