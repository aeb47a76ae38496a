"""Random networks hold "no crash, no difference", and the fuzzer finds a fault that is planted."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, islice
from typing import Any

import pytest
import torch

from niwaki.graph import rules
from niwaki.testing import fuzz
from niwaki.testing.fuzz import HEADS, KINDS, STEMS, Gene, Genome, Outcome
from niwaki.testing.fuzz.trial import CRASHES, DIFFERS, HOLDS, NOTHING, UNFIT

Patch = pytest.MonkeyPatch


def test_sixty_networks_hold() -> None:
    """Short ones, for the time that it takes; bench/fuzz.py tries thousands of any length."""
    short = (genome for genome in map(fuzz.draw, count()) if len(genome.genes) <= 4)
    outcomes = [fuzz.attempt(genome) for genome in islice(short, 60)]
    assert [(o.genome, o.detail) for o in outcomes if o.fault] == []
    counts = {status: sum(o.status == status for o in outcomes) for status in (HOLDS, NOTHING, UNFIT)}
    assert counts[HOLDS] >= 25, counts
    assert counts[UNFIT] <= 3, counts


@pytest.mark.parametrize("seed", [0, 1, 7, 10**6])
def test_a_genome_is_a_value_that_comes_back(seed: int) -> None:
    genome = fuzz.draw(seed)
    assert fuzz.draw(seed) == genome != fuzz.draw(seed + 1)
    assert Genome.parse(str(genome)) == genome == Genome.from_json(genome.to_json())
    assert "\n" not in str(genome)


def test_a_genome_prints_in_one_plain_line() -> None:
    gene = Gene.parse("conv:1,0,2")
    assert (gene.kind, gene.knobs) == ("conv", (1, 0, 2, 0, 0, 0))
    assert str(gene) == "conv:1,0,2"
    assert str(Genome(3, Gene("conv_stem"), (gene,), Gene("pooled"))) == "3 > conv_stem > conv:1,0,2 > pooled"


def test_building_twice_gives_the_same_weights_and_leaves_the_generator_alone() -> None:
    before = torch.default_generator.get_state()
    one, other = (fuzz.build(fuzz.draw(5)) for _ in range(2))
    assert torch.equal(before, torch.default_generator.get_state())
    assert one.used == other.used
    assert torch.equal(one.inputs, other.inputs)
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_pool_is_rich() -> None:
    assert len(KINDS) > 250
    assert len(STEMS) == 3
    assert len(HEADS) >= 6
    used = {kind for seed in range(400, 600) for kind in fuzz.build(fuzz.draw(seed)).used}
    assert len(used) > 150


def test_a_gene_that_does_not_fit_is_left_out() -> None:
    odd = Genome(0, Gene("linear_stem"), (Gene("conv"), Gene("join"), Gene("glu")), Gene("map"))
    assert fuzz.build(odd).used == ("glu",)
    assert fuzz.attempt(odd).status in (HOLDS, NOTHING)


# -- planted faults ---------------------------------------------------------------------------------------


def as_if_elementwise(call: Any) -> None:
    call.like(call.tensors()[0])


def a_sigmoid_that_keeps_zero(call: Any) -> None:
    call.pointwise([call.tensors()[0]], "all")


def drawn(kinds: set[str], number: int) -> list[Genome]:
    """The first genomes that hold one of these genes, so that a test need not try thousands."""
    found = (genome for genome in map(fuzz.draw, range(20_000)) if kinds & {gene.kind for gene in genome.genes})
    return [next(found) for _ in range(number)]


PLANTED: dict[str, tuple[Callable[[Any], None], set[str]]] = {
    "flip": (as_if_elementwise, {"flip", "flip_added"}),
    "roll": (as_if_elementwise, {"roll", "roll_half"}),
    "softmax": (as_if_elementwise, {"softmax", "log_softmax", "softmax_gram_features"}),
    "sigmoid": (a_sigmoid_that_keeps_zero, {"cat_sigmoid", "lasting"}),
}


@pytest.mark.parametrize("op", list(PLANTED))
def test_a_planted_fault_is_found(monkeypatch: Patch, op: str) -> None:
    wrong, kinds = PLANTED[op]
    rules.find(op)
    for name in (op, f"_{op}"):
        monkeypatch.setitem(rules.RULES, name, wrong)
    assert any(fuzz.attempt(genome).fault for genome in drawn(kinds, 24))


def test_a_planted_fault_is_made_small(monkeypatch: Patch) -> None:
    rules.find("flip")
    monkeypatch.setitem(rules.RULES, "flip", as_if_elementwise)
    genome = Genome.parse(
        "4 > conv_stem:1,1,2 > norm:6 > flip:3 > vanishing:2,1 > conv:1,1,4 > by_channel:2 > pooled:0"
    )
    outcome = fuzz.attempt(genome)
    assert outcome.status == DIFFERS
    smallest, shown = fuzz.shrink(genome, outcome)
    assert shown.status == DIFFERS
    assert [gene.kind for gene in smallest.genes] == ["flip"]
    assert str(smallest) == "4 > conv_stem > flip > pooled"


def test_a_rule_that_raises_is_a_crash_of_its_own_kind(monkeypatch: Patch) -> None:
    def broken(call: Any) -> None:
        call.give(call.out, [])

    rules.find("flip")
    monkeypatch.setitem(rules.RULES, "flip", broken)
    outcome = fuzz.attempt(Genome.parse("4 > conv_stem > flip > pooled"))
    assert outcome.status == CRASHES
    assert outcome.kind.startswith("trace FaultyRule")


def test_the_shrinker_keeps_what_the_fault_needs_and_stops_in_time() -> None:
    tried: list[Genome] = []

    def trial(genome: Genome) -> Outcome:
        tried.append(genome)
        kinds = [gene.kind for gene in genome.genes]
        needs = any(gene.kind == "roll" and gene.knobs[1] for gene in genome.genes) and "flip" in kinds
        return Outcome(str(genome), DIFFERS if needs else HOLDS, kind="planted")

    genome = Genome.parse("1 > conv_stem:3 > conv:1,1 > roll:2,5,7 > conv > flip:9 > norm > pooled:8")
    smallest, shown = fuzz.shrink(genome, trial(genome), trial)
    assert str(smallest) == "1 > conv_stem > roll:0,5 > flip > pooled"
    assert shown.fault
    tried.clear()
    fuzz.shrink(genome, Outcome("", DIFFERS, kind="planted"), trial, trials=3)
    assert len(tried) == 3


def test_another_kind_of_fault_is_not_taken_for_the_same() -> None:
    genome = Genome.parse("1 > conv_stem > flip > roll > pooled")

    def trial(smaller: Genome) -> Outcome:
        return Outcome(str(smaller), CRASHES, kind="another")

    assert fuzz.shrink(genome, Outcome("", DIFFERS, kind="differs"), trial)[0] == genome
