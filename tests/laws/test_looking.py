"""Methods that look at data, over one specimen of each kind of coupling."""

from __future__ import annotations

import pytest

import niwaki as nk
from niwaki.surgery.cut import plan_of
from niwaki.testing import laws
from niwaki.testing.zoo import Specimen, specimen
from tests.laws.table import traced, varied_specimens, work


@varied_specimens
def test_what_is_kept_by_its_activations_is_certified(plant: Specimen) -> None:
    graph, model, inputs = traced(plant), plant.build().eval(), plant.inputs()
    small = nk.prune(model, inputs, nk.methods.ispasp(nk.Ratio(0.4), iters=3), data=[inputs])
    plan = plan_of(small)
    assert plan is not None
    assert nk.certify(model, plan, small, inputs).holds
    assert any(choice.removed for choice in plan.choices.values())
    assert set(plan.choices) == {group.name for group in graph.groups}


@pytest.mark.parametrize("name", ["densenet", "mobilenet_v2"])
def test_tuned_between_blocks_it_resumes_bit_for_bit(name: str) -> None:
    plant = specimen(name)
    method = nk.methods.ispasp(nk.Ratio(0.4), iters=3, tune=1)
    assert laws.resumes_bit_for_bit(work(plant), method, 12, stops=[2, 5]) is None


ATTENTION = (
    "multihead_attention",
    "attention_cross",
    "transformer_encoder",
    "transformer_decoder",
    "transformer_whole",
)


@pytest.mark.parametrize("name", ATTENTION)
def test_heads_of_torch_s_own_attention_are_chosen_by_what_they_do(name: str) -> None:
    plant = specimen(name)
    model, inputs = plant.build().eval(), plant.inputs()
    heads = {group.name for group in traced(plant).groups if group.kind == "head"}
    expected, missed = laws.sameness.answers(model, inputs), []
    for compensate in (False, True):
        method = nk.methods.ispasp(nk.Ratio(0.5), iters=3, compensate=compensate)
        small = nk.prune(model, inputs, method, data=[inputs])
        plan = plan_of(small)
        assert plan is not None
        assert all(2 * len(plan.choices[name].removed) == plan.choices[name].size for name in heads), plan.choices
        assert compensate or nk.certify(model, plan, small, inputs).holds
        found = laws.sameness.answers(small, inputs)
        missed.append(sum(float((a - b).norm()) for a, b in zip(found, expected, strict=True)))
    assert heads
    assert missed[1] < 0.5 * missed[0]


@pytest.mark.parametrize("name", ["shared_on_branches", "transformer_encoder"])
def test_tuned_between_blocks_it_repeats_itself(name: str) -> None:
    method = nk.methods.ispasp(nk.Ratio(0.4), iters=3, tune=1)
    assert laws.deterministic(work(specimen(name)), method, 10) is None
