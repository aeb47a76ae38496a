"""What a graph says about its axes, in words and in numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import niwaki as nk
from tests.graph.nets import Net, graph_of, status, tokens


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def test_a_prunable_axis_is_named_with_its_company() -> None:
    graph = nk.trace(two_layers(), torch.ones(2, 4))
    verdict = graph.explain("0.weight", 0)
    assert (verdict.status, verdict.groups, verdict.reasons) == ("prunable", ("0",), ())
    lines = str(verdict).splitlines()
    assert lines[0] == "0.weight[0] (6 indices) of Sequential: prunable."
    assert lines[1] == "In group 0: 6 × neuron, together with:"
    assert {line.split(", by")[0] for line in lines[2:]} == {"  takes 2.weight[1]", "  follows 0.bias[0]"}
    assert graph.explain("0.weight", -2).axis == ("0.weight", 0)


def test_a_blocked_axis_is_named_with_the_operations_on_the_way() -> None:
    """c is tied to a by the sum, and what a makes is returned."""
    net = Net(
        lambda n, x: n.a(x) + n.c(x).relu(),
        a=nn.Linear(4, 6),
        c=nn.Linear(4, 6),
    )
    graph = graph_of(net, torch.ones(2, 4))
    text = str(graph.explain("c.bias", 0))
    assert text.splitlines()[0] == "c.bias[0] (6 indices) of Net: blocked."
    assert "6 of 6 indices are blocked: dimension 1 of the model's output" in text
    assert "What is returned must keep its shape." in text
    steps = [line.strip() for line in text.splitlines() if "by way of" in line]
    assert len(steps) == 2
    assert steps[0].startswith("by way of linear at ")
    assert steps[0].endswith("in module 'c'")
    assert steps[1].startswith("by way of add at test_explain.py:")


def test_an_axis_can_be_open_in_part() -> None:
    net = Net(lambda n, x: n.b(torch.cat([n.a(x), x], -1)), a=nn.Linear(4, 6), b=nn.Linear(10, 3))
    verdict = graph_of(net, tokens()).explain("b.weight", 1)
    assert verdict.status == "partly"
    assert verdict.groups == ("a",)
    assert len(verdict.reasons) == 4


def test_blocked_lists_every_axis_that_is_not_wholly_open() -> None:
    graph = graph_of(two_layers(), torch.ones(2, 4))
    assert set(map(str, graph.blocked)) == {"0.weight[1]", "2.weight[0]", "2.bias[0]"}


def test_a_parameter_that_is_never_used_stays() -> None:
    net = Net(lambda n, x: n.b(n.a(x)), a=nn.Linear(4, 6), b=nn.Linear(6, 3), spare=nn.Linear(6, 6))
    graph = graph_of(net, tokens())
    assert status(graph, "spare.weight:0") == "blocked"
    assert "'spare.weight' was not used in the forward pass" in str(graph.explain("spare.weight", 0))


def test_a_shared_parameter_answers_to_both_names() -> None:
    net = two_layers()
    twice = nn.Sequential(nn.Linear(4, 4), net[1], nn.Linear(4, 4))
    twice[2].weight = twice[0].weight
    graph = graph_of(twice, torch.ones(2, 4))
    assert graph.aliases == {"2.weight": "0.weight"}
    assert graph.explain("2.weight", 0).axis == ("0.weight", 0)


def test_unknown_names_and_dimensions_are_refused_with_the_nearest() -> None:
    graph = graph_of(two_layers(), torch.ones(2, 4))
    with pytest.raises(nk.errors.BadInput, match=r"Sequential has no tensor '0.wieght'; did you mean '0.weight'\?"):
        graph.explain("0.wieght", 0)
    with pytest.raises(nk.errors.BadInput, match=r"'0.bias' has 1 dimensions \(shape \(6,\)\), asked for dimension 1"):
        graph.explain("0.bias", 1)
    with pytest.raises(nk.errors.BadInput, match=r"no group is called '00'; did you mean '0'\? Groups: 0."):
        graph["00"]


def test_nothing_to_prune_names_the_biggest_causes_first() -> None:
    net = Net(lambda n, x: n.b(n.a(x).flip(-1)), a=nn.Linear(4, 50), b=nn.Linear(50, 3))
    with pytest.raises(nk.errors.NothingToPrune) as told:
        nk.trace(net, torch.ones(2, 4))
    text = str(told.value)
    assert text.startswith("nothing in Net can be pruned. The biggest causes: (1) flip reorders the positions of this")
    assert "(2) dimension 1 of the model's" in text
    assert "(4)" not in text


def test_a_failed_dry_run_is_a_reason() -> None:
    net = Net(
        lambda n, x: n.b(n.a(x).view(2, 6)) + n.d(n.c(x)),
        a=nn.Linear(4, 6),
        b=nn.Linear(6, 3),
        c=nn.Linear(4, 5),
        d=nn.Linear(5, 3),
    )
    assert len(graph_of(net, torch.ones(2, 4)).groups) == 2
    graph = nk.trace(net, torch.ones(2, 4))
    assert [g.name for g in graph.groups] == ["c"]
    text = str(graph.explain("a.weight", 0))
    assert "after a cut the forward pass fails" in text
    assert "register an adapter for the module (nk.adapter)" in text
    assert len(nk.trace(net, torch.ones(2, 4), prove=False).groups) == 2


def test_coverage_of_two_layers_by_hand() -> None:
    """4·6 + 6 + 6·3 = 48 of 51 entries lie on the one prunable axis, and all 2·(24 + 18) multiply-adds do."""
    coverage = nk.trace(two_layers(), torch.ones(2, 4)).coverage
    assert coverage.params == pytest.approx(48 / 51)
    assert coverage.macs == 1.0


def test_coverage_beside_a_blocked_layer_by_hand() -> None:
    """The first layer's 20 + 5 entries and 20 multiply-adds stay, for what it makes is sorted."""
    net = Net(lambda n, x: n.c(n.b(n.a(x).sort(-1)[0]).relu()), a=nn.Linear(4, 5), b=nn.Linear(5, 6), c=nn.Linear(6, 2))
    coverage = nk.trace(net, torch.ones(1, 4)).coverage
    assert coverage.params == pytest.approx((30 + 6 + 12) / (25 + 36 + 14))
    assert coverage.macs == pytest.approx((30 + 12) / (20 + 30 + 12))


def test_a_graph_prints_its_groups() -> None:
    graph = nk.trace(two_layers(), torch.ones(2, 4))
    assert str(graph).splitlines() == [
        "Sequential: 1 groups, 6 units; they reach 94% of the parameters and 100% of the multiply-adds.",
        "  0: 6 × neuron",
    ]
    assert repr(graph) == "Graph(Sequential, 1 groups)"


def test_costs_after_a_choice_by_hand() -> None:
    """Two of six hidden units less: 2·(4·4 + 4·3) multiply-adds, 4·4 + 4 + 4·3 + 3 parameters."""
    graph = nk.trace(two_layers(), torch.ones(2, 4))
    assert (graph.macs(), graph.params()) == (2 * (24 + 18), 51)
    assert (graph.macs({"0": (1, 4)}), graph.params({"0": (1, 4)})) == (2 * (16 + 12), 35)
    assert graph.removed({"0": (1, 4)}) == {("0.weight", 0): (1, 4), ("0.bias", 0): (1, 4), ("2.weight", 1): (1, 4)}


def test_the_model_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3)).train()
    net[2].eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    random = torch.get_rng_state()
    nk.trace(net, torch.ones(2, 4))
    assert [m.training for m in net] == [True, True, False, True]
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(random, torch.get_rng_state())


def test_a_forward_that_reads_values_is_traced_on_real_tensors() -> None:
    net = Net(lambda n, x: n.b(n.a(x)) * (2 if float(x.sum()) > 0 else 1), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    graph = nk.trace(net, torch.ones(2, 4))
    assert graph.observation.real
    assert [len(g) for g in graph.groups] == [6]


def test_inputs_may_be_keywords_and_outputs_nested() -> None:
    class Keywords(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, *, x: torch.Tensor, scale: float = 1.0) -> dict[str, list[torch.Tensor]]:
            return {"all": [scale * self.b(F.relu(self.a(x)))]}

    graph = nk.trace(Keywords(), {"x": torch.ones(2, 4), "scale": 0.5})
    assert [g.name for g in graph.groups] == ["a"]
    assert status(graph, "b.weight:0") == "blocked"
