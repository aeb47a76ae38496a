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
