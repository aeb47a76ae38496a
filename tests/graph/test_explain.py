"""What a graph says about its axes, in words and in numbers worked out by hand."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import niwaki as nk
from niwaki.graph import graph as graphs
from niwaki.graph import sites
from niwaki.graph.explain import Web
from tests.graph.nets import Net, graph_of, image, status, tokens


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def test_the_line_is_that_of_whoever_ran_the_model() -> None:
    """An nn.Sequential has no line of its own: what called it tells, past all of niwaki."""
    said = str(nk.trace(two_layers(), torch.ones(2, 4)).explain("0.weight", 0))
    assert re.search(r"takes 2\.weight\[1\], by linear at test_explain\.py:\d+ in module '2'", said), said


@pytest.mark.parametrize("room", ["recipes", "export", "measure", "artefact", "forecast", "calibration", "cli.py"])
def test_no_line_of_our_own_is_the_users(room: str) -> None:
    """Code that is said to stand in that room: the line is that of this file, or, past the command line, nobody's."""
    place = f"{sites._PACKAGE}{room}" if room == "cli.py" else f"{sites._PACKAGE}{room}/some.py"
    names: dict[str, Any] = {"compass": sites.Compass(two_layers())}
    exec(compile("site = compass.site('linear')", place, "exec"), names)  # as the interpreter tells of a file there
    said = str(names["site"])
    assert said == "linear" if room == "cli.py" else said.startswith("linear at test_explain.py:")


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


def test_a_large_vocabulary_is_asked_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its rows is blocked by itself: no relation is followed, and for the first reason one row does."""
    asked, followed = [], []
    answer, follow = graphs.chain_to, Web.beside
    monkeypatch.setattr(graphs, "chain_to", lambda web, atom: asked.append(atom) or answer(web, atom))
    monkeypatch.setattr(Web, "beside", lambda web, atom: followed.append(atom) or follow(web, atom))
    net = nn.Sequential(nn.Embedding(3000, 4), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    graph = graph_of(net, torch.zeros(1, 5, dtype=torch.long))
    assert "the vocabulary of an embedding" in str(graph.blocked["0.weight", 0])
    assert len(asked) == len(graph.blocked) < 5
    del asked[:], followed[:]
    assert "3000 of 3000 indices are blocked: the vocabulary" in str(graph.explain("0.weight", 0))
    assert (len(asked), followed) == (3000, [])


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


# -- every kind of answer, in full -------------------------------------------------------------------------------------


def line_of(function: Callable[..., Any], text: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return next(first + k for k, line in enumerate(lines) if text in line)


class Gated(nn.Module):
    """A gate over two halves of one layer, a norm, and a sum with what another layer makes."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.side, self.norm, self.leave = (
            nn.Linear(4, 12),
            nn.Linear(4, 6),
            nn.LayerNorm(6),
            nn.Linear(6, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.enter(x).chunk(2, -1)
        h = value * gate.sigmoid()
        h = h + self.side(x)
        return self.leave(self.norm(h))


def test_a_prunable_axis_in_full() -> None:
    """The group, its company with roles, and for each the first operation that tied it, at the user's line."""
    text = str(nk.trace(Gated(), tokens()).explain("enter.weight", 0))
    assert text.splitlines()[:2] == [
        "enter.weight[0] (12 indices) of Gated: prunable.",
        "In group enter: 6 × hidden, together with:",
    ]
    company = {row.strip().split(", by ")[0]: row.strip() for row in text.splitlines()[2:-1]}
    assert set(company) == {
        "makes side.weight[0]",
        "takes leave.weight[1]",
        "follows enter.bias[0]",
        "follows side.bias[0]",
        "follows norm.weight[0]",
        "follows norm.bias[0]",
    }
    assert "by linear at " in company["follows side.bias[0]"]
    assert "by linear at " in company["takes leave.weight[1]"]
    assert re.search(r"by layer_norm at .* in module 'norm'", company["follows norm.weight[0]"])
    assert text.splitlines()[-1].strip().startswith("A norm averages over these units: removing some changes")


def test_the_chain_goes_through_every_operation_between_an_axis_and_what_blocks_it() -> None:
    """From the bias of a to its rows, and by the product to d, which is flipped: nearest first, each with its line."""

    def forward(n: Any, x: Tensor) -> Tensor:
        h = n.a(x).relu()
        h = h + n.c(x)
        h = h * n.d(x)
        return n.b(h) + n.b(n.d(x).flip(-1))

    model = Net(forward, **{name: nn.Linear(4, 6) for name in "acd"}, b=nn.Linear(6, 3))
    text = str(graph_of(model, tokens()).explain("a.bias", 0))
    place = f"(flip at test_explain.py:{line_of(forward, 'flip')})"
    assert f"6 of 6 indices are blocked: flip reorders the positions of this axis {place}" in text
    assert "Keep the layers that feed it out of the pruning" in text
    steps = [row.strip().removeprefix("by way of ") for row in text.splitlines() if "by way of" in row]
    assert len(steps) == 2
    assert steps[0].startswith("linear at ")
    assert steps[0].endswith("in module 'a'")
    assert steps[1] == f"mul at test_explain.py:{line_of(forward, 'h * n.d(x)')}"


def test_the_chain_goes_through_a_grid() -> None:
    """Rows of a are read as two heads of three, and both are turned around."""

    def forward(n: Any, x: Tensor) -> Tensor:
        h = n.a(x).view(2, 5, 2, 3)
        return n.b(h.flip(2, 3).flatten(2))

    text = str(graph_of(Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3)), tokens()).explain("a.weight", 0))
    assert "6 of 6 indices are blocked: flip reorders the positions of this axis" in text
    assert f"by way of view at test_explain.py:{line_of(forward, 'view')} (read as a grid)" in text


def constant(n: Any, x: Tensor) -> Tensor:
    return n.b(n.a(x) + torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))


def written(n: Any, x: Tensor) -> Tensor:
    return n.b(n.a(x).view(2, 5, 6))


def taken(n: Any, x: Tensor) -> Tensor:
    return n.a(x)[..., 0]


def parted(n: Any, x: Tensor) -> Tensor:
    h = n.a(x)
    h[..., :3] = 0.0
    return n.b(h)


def lasting(n: Any, x: Tensor) -> Tensor:
    return n.a(x).sigmoid().sum(-1)


def scaled(n: Any, x: Tensor) -> Tensor:
    h = n.a(x)
    return F.scaled_dot_product_attention(h, h, n.c(x))


def sorted_out(n: Any, x: Tensor) -> Tensor:
    return n.b(n.a(x).sort(-1)[0])


def handed_out(n: Any, x: Tensor) -> Tensor:
    return n.a(x)


ANSWERS: dict[str, tuple[Callable[..., Any], str, str, str]] = {
    "constant": (
        constant,
        "a constant tensor that is neither a parameter, a buffer nor computed from the input (",
        "torch.tensor",
        "Register it as a buffer if it has one entry per channel.",
    ),
    "written size": (written, "after a cut the forward pass fails: shape '[2, 5, 6]' is invalid", "", "nk.adapter"),
    "single position": (taken, "positions taken by number (select at ", "n.a(x)[", ""),
    "part written": (parted, "writing into a part of a tensor (", "0.0", "Use torch.cat or torch.where instead."),
    "sum of what lasts": (
        lasting,
        "a sum over values that do not vanish when their unit is masked (sum at ",
        ".sum",
        "",
    ),
    "scale": (
        scaled,
        "the attention's scale is computed from this dimension (",
        "scaled_dot",
        "Pass scale= explicitly",
    ),
    "sort": (sorted_out, "sort runs over this axis (sort at ", ".sort", ""),
    "output": (
        handed_out,
        "dimension 2 of the model's output (return at the model's forward)",
        "",
        "What is returned must keep its shape.",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_blocked_axis_in_full(name: str) -> None:
    """The cause, the user's line, and what to do about it where something can be done."""
    forward, cause, place, advice = ANSWERS[name]
    model = Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3), c=nn.Linear(4, 6), x=nn.Linear(4, 7))
    model = Net(
        lambda n, x: (forward(n, x), n.last(n.first(x))),
        **dict(model.named_children()),
        first=nn.Linear(4, 5),
        last=nn.Linear(5, 2),
    )
    graph = nk.trace(model, tokens())
    verdict = graph.explain("a.weight", 0)
    assert (verdict.status, verdict.groups) == ("blocked", ())
    lines = str(verdict).splitlines()
    assert lines[0] == "a.weight[0] (6 indices) of Net: blocked."
    assert lines[1].startswith(f"6 of 6 indices are blocked: {cause}")
    if place:
        assert f"at test_explain.py:{line_of(forward, place)}" in lines[1]
    assert advice in lines[1]
    assert "first" in {group.name for group in graph.groups}


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (1, "dimension 2 of the model's input '0'"),
        (-1, "dimension 2 of the model's input '0'"),
    ],
)
def test_what_the_input_fixes_says_so(dim: int, text: str) -> None:
    verdict = graph_of(two_layers(), tokens()).explain("0.weight", dim)
    assert f"4 of 4 indices are blocked: {text}" in str(verdict)
    assert verdict.axis == ("0.weight", 1)


def test_an_axis_of_one_index_says_so() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 1), nn.Linear(1, 3))
    assert "1 of 1 indices are blocked: it is all there is of an axis" in str(
        graph_of(net, tokens()).explain("1.weight", 0)
    )


def test_reasons_are_counted_with_the_biggest_first() -> None:
    """Of b's ten columns six are units, three meet the input's last three, and one the first: all are input."""
    net = Net(
        lambda n, x: n.b(torch.cat([n.a(x), n.c(x).sort(-1)[0], x[..., :1]], -1)),
        a=nn.Linear(4, 6),
        c=nn.Linear(4, 3),
        b=nn.Linear(10, 3),
    )
    verdict = graph_of(net, tokens()).explain("b.weight", 1)
    counts = [line.split(" of ")[0] for line in str(verdict).splitlines() if " indices are blocked: " in line]
    assert (verdict.status, counts) == ("partly", ["3", "1"])
    assert "sort runs over this axis" in str(verdict.reasons[0])
    assert "the model's input" in str(verdict.reasons[-1])


# -- coverage by hand --------------------------------------------------------------------------------------------------


def test_coverage_of_a_convolution_by_hand() -> None:
    """3 → 6 → 2 channels, 3 × 3 on 6 × 6: 162 + 6 entries and the 108 of the reader lie on the axis, 2 do not."""
    graph = nk.trace(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 3)), image())
    assert graph.coverage.params == pytest.approx((162 + 6 + 108) / (162 + 6 + 108 + 2))
    assert graph.coverage.macs == 1.0
    assert graph.macs() == 2 * (16 * 162 + 4 * 108)
    assert graph.params() == 278


def test_coverage_of_an_axis_that_is_open_in_part_by_hand() -> None:
    """Six of ten columns: 24 + 6 entries of a, 18 of b's 30; b's bias and the four columns of the input stay."""
    net = Net(lambda n, x: n.b(torch.cat([n.a(x), x], -1)), a=nn.Linear(4, 6), b=nn.Linear(10, 3))
    coverage = nk.trace(net, tokens()).coverage
    assert coverage.params == pytest.approx((24 + 6 + 18) / (30 + 33))
    assert coverage.macs == pytest.approx((24 + 18) / (24 + 30))


def test_coverage_of_a_shared_and_of_an_unused_weight_by_hand() -> None:
    """The shared weight counts once; what is never used counts, and is out of reach."""
    net = nn.Sequential(
        nn.Linear(4, 6, bias=False), nn.Linear(6, 4, bias=False), nn.Linear(4, 6, bias=False), nn.Linear(6, 3)
    )
    net[2].weight = net[0].weight
    net.spare = nn.Linear(5, 5, bias=False)
    model = Net(lambda n, x: n.net[3](n.net[2](n.net[1](n.net[0](x)))), net=net)
    graph = nk.trace(model, tokens())
    total = 24 + 24 + 18 + 3 + 25
    assert graph.params() == total
    assert graph.coverage.params == pytest.approx((24 + 24 + 18) / total)
