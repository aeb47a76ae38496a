"""Architectures that people use, tiny: what should be prunable in each is found, and is cut as it is masked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.graph import Graph
from niwaki.surgery.cut import cut
from niwaki.testing import laws
from niwaki.testing.families import FAMILIES, Family, family
from niwaki.testing.laws import sameness
from niwaki.tracing import trace

RATIOS = (0.1, 0.3, 0.6)

# Family to the kinds that are not offered today, and why. A row must go when they are found.
KNOWN_MISSING: dict[str, tuple[str, str]] = {
    "deberta_v2": ("head", "relative positions are gathered in all heads by computed indices"),
    "bloom": ("head", "the slopes of its positions are made from the number of heads"),
    "falcon": ("head", "queries, keys and values are taken out of one axis by a list of numbers"),
    "phi": ("head_dim", "half of a head is rotated, and how much is read from a number that also means the head"),
    "glm": ("head", "queries that share keys are told apart inside the part that is rotated"),
    "mixtral_loop": ("expert", "experts are taken by number, one after another"),
    "deepseek_v3": (
        "expert head",
        "the router gathers by computed positions; heads are written into a part of a tensor",
    ),
    "gpt_oss": ("head", "a sink for every head stands beside the softmax"),
    "mamba": ("neuron state", "the sizes of a split are kept as numbers; what it offers is called hidden"),
    "mamba2": ("head neuron state", "the sizes of a split are sums of numbers that are kept in the module"),
    "recurrent_gemma": ("state", "the recurrence writes into a part of a tensor, step by step"),
    "cvt": ("channel", "a reshape by its number of heads; what it offers is called neuron"),
    "poolformer": ("neuron", "its MLP is made of convolutions, so that a neuron is called channel"),
    "perceiver": ("head_dim", "the attention takes its scale from the head"),
    "einsum_mixer": ("head head_dim", "an einsum names both factors of a grid, which is called neuron"),
    "dlrm": ("hidden", "a feature of all tables at once is called head_dim"),
}
if find_spec("transformers") and tuple(map(int, version("transformers").split(".")[:2])) >= (5, 24):
    KNOWN_MISSING["codegen"] = ("head", "four hands of heads are read at once as hands and as heads")

# Gradients that differ by rounding alone: 1.1e-5 where sums of many terms come in another order.
TOLERANCE = {"gemma3": 3e-5}


@dataclass(frozen=True)
class Traced:
    """A family that was traced: the graph, or why there is none."""

    model: nn.Module
    inputs: Any
    graph: Graph


@cache
def _traced(name: str) -> Traced:
    model, inputs = family(name).build(), family(name).inputs()
    return Traced(model, inputs, trace(model, inputs))


def traced(grown: Family) -> Traced:
    """The family's one trace."""
    if "needs_transformers" in grown.tags:
        pytest.importorskip("transformers")
    return _traced(grown.name)


def missing(grown: Family) -> set[str]:
    return set(grown.kinds - {group.kind for group in traced(grown).graph.groups})


@pytest.mark.parametrize("grown", FAMILIES, ids=lambda grown: grown.name)
def test_a_family(grown: Family) -> None:
    """What an expert would cut is offered, every group has a legal step, and cut equals masked at a tenth, a third and
    more than half of all that is offered, at once, and where all groups compete. All in one test, for one trace."""
    words, reason = KNOWN_MISSING.get(grown.name, ("", ""))
    assert missing(grown) == set(words.split()), f"KNOWN_MISSING says: {words} ({reason})"
    found = traced(grown)
    for group in found.graph.groups:
        plan = nk.plan(found.graph, nk.scores.Random(0), nk.Ratio(0.95), [group])
        assert plan.choices[group.name].removed, f"{group} offers nothing"
        assert set(plan.removed) >= {member.axis for member in group.makers}
    tolerance = TOLERANCE.get(grown.name, sameness.TOLERANCE)
    laws.cut_equals_masked(found.model, found.inputs, RATIOS, (0,), graph=found.graph, tolerance=tolerance)
    laws.uneven_cuts_equal_masked(found.model, found.inputs, graph=found.graph, tolerance=tolerance)


def test_a_wrong_kind_is_missed() -> None:
    """The look at kinds can fail: a family that claims what it has not."""
    grown = family("vgg")
    assert "expert" not in grown.kinds
    claimed = Family(**{**vars(grown), "kinds": grown.kinds | {"expert"}})
    assert missing(claimed) == {"expert"}


@pytest.mark.parametrize("name", ["phi", "stablelm"])
def test_a_config_that_would_build_an_empty_tensor_is_no_reason_to_crash(name: str) -> None:
    found = traced(family(name))
    for ratio in RATIOS:
        plan = nk.plan(found.graph, nk.scores.Random(0), nk.Ratio(ratio))
        assert cut(found.model, plan)(**found.inputs) is not None


@pytest.mark.parametrize("name", ["wav2vec2", "wav2vec2_large", "hubert"])
def test_what_speech_models_mask_in_training_follows_the_width(name: str) -> None:
    """SpecAugment writes an embedding over frames in training alone, between layers that are dropped by chance."""
    pytest.importorskip("transformers")
    model = family(name).build()
    inputs = {"input_values": torch.randn(2, 400, generator=torch.Generator().manual_seed(0))}  # longer than one mask
    graph = trace(model, inputs)
    (mask,) = (axis for axis in graph.prunable if axis.name.endswith("masked_spec_embed"))
    assert graph.prunable[mask].all()
    small = cut(model, nk.plan(graph, nk.scores.Random(0), nk.Ratio(0.3))).train()
    assert small.get_parameter(mask.name).numel() < model.get_parameter(mask.name).numel()
    assert small(**inputs) is not None


def test_experts_are_found_where_torch_has_no_grouped_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before torch 2.9 on processors, and on older GPUs, transformers multiplies experts by an operation of its own."""
    moe = pytest.importorskip("transformers.integrations.moe")
    if not hasattr(moe, "_can_use_grouped_mm"):
        pytest.skip("this release of transformers has no such operation")
    monkeypatch.setattr(moe, "_can_use_grouped_mm", lambda *args: False)
    grown = family("mixtral")
    model, inputs = grown.build(), grown.inputs()
    graph = trace(model, inputs)
    assert grown.kinds <= {group.kind for group in graph.groups}
    laws.cut_equals_masked(model, inputs, RATIOS, (0,), graph=graph)
