"""Choosing units, worked out by hand on known worth."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput, IllegalPlan, NothingToPrune, UnreachableTarget
from niwaki.surgery.decide import _by_one_measure, quotas, select
from niwaki.surgery.ladders import ladder
from tests.graph.nets import Net, graph_of, tokens


def chain(*widths: int) -> nk.Graph:
    """Linear layers 4 → widths… → 2, one after another; the groups are called 0, 1, …"""
    sizes = [4, *widths, 2]
    net = nn.Sequential(*(nn.Linear(i, o) for i, o in pairwise(sizes)))
    return graph_of(net, torch.ones(1, 4))


def go(graph: nk.Graph, target: Any, **worth: list[float]) -> dict[str, tuple[int, ...]]:
    """What goes, by group, given the worth of the units of group _0, _1, …"""
    named = {g.name: torch.arange(float(len(g))) for g in graph.groups}
    named |= {name[1:]: torch.tensor(values) for name, values in worth.items()}
    return select(graph, named, target)


# -- by ratio ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "ratio", "removed"),
    [(10, 0.5, 5), (10, 0.3, 3), (10, 0.31, 4), (10, 0.0, 0), (7, 0.5, 4), (3, 0.99, 2), (2, 0.9, 1), (10, 1e-12, 0)],
)
def test_a_ratio_removes_the_ceiling_but_never_all(width: int, ratio: float, removed: int) -> None:
    assert go(chain(width), nk.Ratio(ratio))["0"] == tuple(range(removed))


def test_the_least_worth_go_first() -> None:
    assert go(chain(5), nk.Ratio(0.4), _0=[3.0, 1.0, 5.0, 0.5, 4.0]) == {"0": (1, 3)}


def test_ties_go_to_the_lower_number() -> None:
    assert go(chain(6), nk.Ratio(0.5), _0=[1.0, 2.0, 1.0, 1.0, 0.0, 1.0]) == {"0": (0, 2, 4)}


def test_every_group_gives_its_own_share() -> None:
    assert go(chain(4, 6), nk.Ratio(0.5)) == {"0": (0, 1), "1": (0, 1, 2)}


def test_ratios_by_pattern_first_match_wins_and_others_stay_whole() -> None:
    assert go(chain(4, 4, 4), nk.Ratio({"1": 0.25, "[01]": 0.5})) == {"0": (0, 1), "1": (0,), "2": ()}


@pytest.mark.parametrize(
    ("width", "multiple", "left"), [(40, 8, 24), (40, 1, 20), (16, 8, 8), (12, 8, 8), (20, 8, 16), (9, 8, 8), (8, 8, 8)]
)
def test_widths_are_rounded_up(width: int, multiple: int, left: int) -> None:
    """Half of 40 is 20; of the multiples of 8, 24 is the first that keeps as much."""
    assert width - len(go(chain(width), nk.Ratio(0.5, round_to=multiple))["0"]) == left


def test_rounding_counts_what_a_unit_holds() -> None:
    """Pairs of a gate: two rows go at a time, so 4 rows are 2 units."""
    net = Net(lambda n, x: n.b(nn.functional.glu(n.a(x))), a=nn.Linear(4, 20), b=nn.Linear(10, 2))
    plan = nk.plan(graph_of(net, torch.ones(1, 4)), target=nk.Ratio(0.5, round_to=4))
    # Of 10 units 5 may go; 20 rows less 2 a unit: 4 units leave 12, 5 would leave 10.
    assert plan.shape("a.weight") == (12, 4)


# -- globally ---------------------------------------------------------------------------------------------------


def test_all_groups_compete_by_worth_over_their_mean() -> None:
    """Both groups hold 1, 2, 3, 6 in their own scale: the two least of each go together."""
    found = go(chain(4, 4), nk.Ratio(0.5, scope="global"), _0=[1.0, 2.0, 3.0, 6.0], _1=[600.0, 300.0, 200.0, 100.0])
    assert found == {"0": (0, 1), "1": (2, 3)}


def test_a_flat_group_keeps_more_than_a_steep_one() -> None:
    """Over their means, (8, 9, 11, 12)/10 and (1, 2, 3, 34)/10: the three least are 0.1, 0.2, 0.3."""
    target = nk.Ratio(3 / 8, scope="global")
    found = go(chain(4, 4), target, _0=[8.0, 9.0, 11.0, 12.0], _1=[1.0, 2.0, 3.0, 34.0])
    assert found == {"0": (), "1": (0, 1, 2)}


def test_no_layer_is_emptied_globally() -> None:
    found = go(chain(4, 4), nk.Ratio(0.9, scope="global"), _0=[0.0] * 4, _1=[9.0] * 4)
    assert {name: len(units) for name, units in found.items()} == {"0": 3, "1": 3}


def test_a_global_ratio_does_not_stumble_over_rounding() -> None:
    assert len(go(chain(100), nk.Ratio(0.29, scope="global"))["0"]) == 29


# -- by cost ----------------------------------------------------------------------------------------------------


def test_parameters_by_hand() -> None:
    """4·n + n + 2·n + 2 with n of 10 left; half of 72 is 36, so 4 stay (30) and 5 would be too many (37)."""
    plan = nk.plan(chain(10), target=nk.Params(0.5))
    assert plan.choices["0"].kept == 4


def test_multiply_adds_by_hand() -> None:
    """4·n + 2·n of 60: half is 30, which 5 meet exactly."""
    assert nk.plan(chain(10), target=nk.Macs(0.5)).choices["0"].kept == 5
    assert nk.plan(chain(10), target=nk.Macs(1.0)).removed == {}


def test_groups_give_evenly_and_the_first_the_last_bit() -> None:
    """Widths 4, 4: 4a + ab + 2b of 40. (3, 4) costs 32, (3, 3) 27: at 0.8 (32) only the first group gives."""
    found = go(chain(4, 4), nk.Macs(0.8))
    assert found == {"0": (0,), "1": ()}
    assert go(chain(4, 4), nk.Macs(0.79)) == {"0": (0,), "1": (0,)}


def test_a_cost_is_met_globally_by_the_shortest_prefix() -> None:
    """The second group is worth nothing: 2, 3 or more of it go first. 4·4 + 4b + 2b: b = 1 costs 22 of 40."""
    found = go(chain(4, 4), nk.Macs(0.55, scope="global"), _0=[1.0, 1.0, 1.0, 1.0], _1=[0.0, 0.0, 0.0, 1.0])
    assert found == {"0": (), "1": (0, 1, 2)}


def test_rounding_holds_under_a_cost() -> None:
    plan = nk.plan(chain(40, 40), target=nk.Macs(0.5, round_to=8))
    assert {c.kept % 8 for c in plan.choices.values()} == {0}


def test_an_unreachable_target_says_what_can_be_had() -> None:
    """One unit left: 4 + 1 + 2 + 2 = 9 of 72 parameters, 6 of 60 multiply-adds."""
    with pytest.raises(UnreachableTarget) as told:
        nk.plan(chain(10), target=nk.Params(0.1))
    assert str(told.value) == (
        "asked for 0.1 of the dense parameters (7 of 72); with the groups allowed, the least that a legal plan leaves "
        "is 0.125 (9). Ask for more, allow more groups, or lower round_to."
    )
    with pytest.raises(
        UnreachableTarget, match=r"asked for 0.09 of the dense multiply-adds \(5 of 60\).* is 0\.1 \(6\)"
    ):
        nk.plan(chain(10), target=nk.Macs(0.09))
    assert nk.plan(chain(10), target=nk.Macs(0.1)).choices["0"].kept == 1


# -- balance ----------------------------------------------------------------------------------------------------


def halves() -> nk.Graph:
    def forward(n: Any, x: Tensor) -> Tensor:
        u, v = n.a(x).chunk(2, -1)
        return n.b(u) + n.c(v)

    return graph_of(Net(forward, a=nn.Linear(4, 6), b=nn.Linear(3, 3), c=nn.Linear(3, 3)), tokens())


def test_a_balance_takes_the_least_of_each_part() -> None:
    graph = halves()
    worth = {"a": torch.tensor([5.0, 1.0, 2.0, 9.0, 8.0, 7.0])}
    assert select(graph, worth, nk.Ratio(1 / 3)) == {"a": (1, 5)}
    assert select(graph, worth, nk.Ratio(0.5)) == {"a": (1, 5)}  # 3 of 6 may go, and they go in pairs
    assert select(graph, worth, nk.Ratio(0.99)) == {"a": (1, 2, 4, 5)}


def test_a_choice_by_hand_must_keep_the_balance() -> None:
    graph = halves()
    with pytest.raises(IllegalPlan, match=r"takes \[1, 0\]"):
        nk.make_plan(graph, {"a": (0,)})
    assert nk.make_plan(graph, {"a": (0, 4)}).removed[("b.weight", 1)] == (0,)  # type: ignore[index]


def test_a_choice_by_hand_must_leave_something() -> None:
    with pytest.raises(IllegalPlan, match="group '0': removing all 4 units would leave the layer empty"):
        nk.make_plan(chain(4), {"0": (0, 1, 2, 3)})
    with pytest.raises(BadInput, match="no group is called 'zero'"):
        nk.make_plan(chain(4), {"zero": (0,)})


# -- who takes part ---------------------------------------------------------------------------------------------


def test_only_and_skip_name_groups_by_pattern() -> None:
    assert go(chain(4, 4, 4), nk.Ratio(0.5, only="[12]", skip=["2"])) == {"1": (0, 1)}
    plan = nk.plan(chain(4, 4), groups=["1"])
    assert {n: c.kept for n, c in plan.choices.items()} == {"0": 4, "1": 2}


@pytest.mark.parametrize("options", [{"only": "conv*"}, {"skip": ("0", "conv*")}])
def test_a_pattern_that_matches_nothing_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"the pattern 'conv\*' matches no group\. Groups: 0, 1\."):
        nk.plan(chain(4, 4), target=nk.Ratio(0.5, **options))
    with pytest.raises(BadInput, match=r"the pattern 'conv\*' matches no group"):
        nk.plan(chain(4, 4), target=nk.Ratio({"conv*": 0.5}))


@pytest.mark.parametrize("worth", [[1.0, 2.0], [1.0, math.nan, 2.0, 3.0], [math.inf, 1.0, 2.0, 3.0]])
def test_scores_must_be_one_finite_number_a_unit(worth: list[float]) -> None:
    with pytest.raises(BadInput, match="the score of group '0' must be 4 finite numbers, one per unit"):
        go(chain(4), nk.Ratio(0.5), _0=worth)


def test_a_graph_without_groups_has_no_plan() -> None:
    with pytest.raises(NothingToPrune):
        nk.plan(graph_of(nn.Linear(4, 2), torch.ones(1, 4)))


def test_a_plan_remembers_how_it_was_made() -> None:
    plan = nk.plan(chain(4), nk.scores.Random(7), nk.Ratio(0.25, skip=()))
    assert plan.made_by["score"] == {"kind": "Random", "seed": 7}
    assert plan.made_by["target"]["removed"] == 0.25
    assert plan.choices["0"].removed == plan.removed[("0.weight", 0)]  # type: ignore[index]


# -- targets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1.0, -0.1, math.nan, math.inf, "0.5", None, True, [0.5]])
def test_a_ratio_is_a_number_from_nought_up_to_one(share: Any) -> None:
    with pytest.raises(BadInput, match="from 0 up to, not including, 1, not "):
        nk.Ratio(share)
    with pytest.raises(BadInput, match="from 0 up to, not including, 1, not "):
        nk.Ratio({"*": share})


def test_patterns_of_a_ratio_are_text() -> None:
    """As those of a YAML file are that are the numbers of layers, once they are quoted."""
    with pytest.raises(BadInput, match="patterns of group names are text; write '0', in quotes"):
        nk.Ratio({"1": 0.5, 0: 0.5})  # type: ignore[dict-item]


@pytest.mark.parametrize("target", [nk.Macs, nk.Params])
@pytest.mark.parametrize("share", [0, 1.01, -0.1, math.nan, "0.5", None, True])
def test_a_share_that_remains_is_above_nought_and_at_most_one(target: Any, share: Any) -> None:
    with pytest.raises(BadInput, match="above 0 and at most 1, not "):
        target(share)


@pytest.mark.parametrize("round_to", [0, -8, 8.0, "8", True])
def test_a_multiple_is_a_whole_number(round_to: Any) -> None:
    with pytest.raises(BadInput, match="round_to must be a whole number of at least 1"):
        nk.Macs(0.5, round_to=round_to)


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(BadInput, match="scope must be 'group', 'layer' or 'global', not 'net'"):
        nk.Ratio(0.5, scope="net")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="scope='global' would contradict it"):
        nk.Ratio({"*": 0.5}, scope="global")


def test_targets_are_values() -> None:
    assert nk.Ratio(0.5, only="a") == nk.Ratio(0.5, only=["a"]) != nk.Ratio(0.5)
    assert len({nk.Ratio({"a": 0.5}), nk.Ratio({"a": 0.5}), nk.Macs(0.5), nk.Params(0.5)}) == 3


@pytest.mark.parametrize("size", [1.0, 1e-6])
def test_worths_as_they_are_get_one_measure_of_their_own_size(size: float) -> None:
    """Solvers stop at a share of all that there is: beside worths of a millionth, a measure of 1 would be all."""
    graph = chain(8, 12)
    ladders = [ladder(g, size * torch.rand(len(g)).double().numpy(), 1) for g in graph.groups]
    found = _by_one_measure(ladders)
    assert len({rungs.mean for rungs in found}) == 1
    shares = sum((r.worth.sum() / r.mean for r in found), 0.0)
    assert 0.1 * sum(map(len, found)) < shares < 2 * sum(map(len, found))


class Bracketed(nn.Module):
    """Its groups have names that are patterns of other names."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"conv[0]": nn.Linear(4, 6), "out": nn.Linear(6, 2)})

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.parts["out"](torch.relu(self.parts["conv[0]"](x)))
        return found


@pytest.mark.parametrize("target", [nk.Ratio(0.5), nk.Ratio({"*": 0.5})])
def test_names_are_no_patterns(target: nk.Ratio) -> None:
    graph = nk.trace(Bracketed(), torch.ones(1, 4))
    (name,) = (g.name for g in graph.groups)
    assert "[0]" in name
    assert quotas(graph, [name], target)[name][1] == (3,)
