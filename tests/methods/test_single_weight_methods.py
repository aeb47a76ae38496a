"""Iterative, gradual and N:M pruning as values: what they are made of, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput, NothingToPrune
from niwaki.methods import Choose, Gradually, Mask, Method, Part, Regularize, Remember, Rewind, Wait, from_json, to_json
from niwaki.methods.spur import READINGS
from niwaki.penalties import RowColumn
from niwaki.schedules import cubic, geometric, linear, per_round
from niwaki.surgery.singles import offered, select_each, single_weights, worth_each


def shares(method: Method) -> list[float]:
    return [part.target.removed for part in method.body.walk() if isinstance(part, Choose)]


def kinds(method: Method) -> list[type[Part]]:
    return [type(part) for part in method.body.parts]


def test_geometric_rounds_take_the_same_share_of_what_is_left() -> None:
    """Half of what is left in each of three rounds: 1/2, 3/4, 7/8."""
    assert geometric(0.875, 3) == pytest.approx((0.5, 0.75, 0.875))
    assert geometric(0.9, 1) == (0.9,)
    assert linear(0.9, 3) == pytest.approx((0.3, 0.6, 0.9))
    assert [law(0.7, 5)[-1] for law in (geometric, linear)] == [0.7, 0.7]  # exactly


def test_a_cubic_begins_at_first_and_ends_at_the_share() -> None:
    assert [cubic(0.9, 0.1, at) for at in (0, 1)] == pytest.approx([0.1, 0.9])
    assert cubic(0.9, 0.1, 0.5) == pytest.approx(0.9 - 0.8 / 8)


def test_imp_trains_and_prunes_in_turns() -> None:
    method = nk.methods.imp(0.75, rounds=2, steps=3, dense=5)
    assert kinds(method) == [Wait, Choose, Mask, Wait, Choose, Mask, Wait]
    assert shares(method) == pytest.approx([0.5, 0.75])
    assert method.rounds == (5, 3, 3)
    assert method.body.longest == 11
    assert shares(nk.methods.imp(0.8, rounds=4, steps=1, spacing="linear")) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert shares(nk.methods.imp(0.9, rounds=(0.5, 0.8), steps=1)) == pytest.approx([0.5, 0.8, 0.9])


def test_shares_by_pattern_go_the_same_way() -> None:
    target = nk.Ratio({"a*": 0.75, "b": 0.4})
    first, last = shares(nk.methods.imp(target, rounds=2, steps=1))
    assert first == pytest.approx({"a*": 0.5, "b": 1 - 0.6**0.5})
    assert last == {"a*": 0.75, "b": 0.4}
    assert shares(nk.methods.imp(target, rounds=(0.5,), steps=1))[0] == {"a*": 0.5, "b": 0.4}


def test_rewinding_remembers_at_its_step() -> None:
    late = nk.methods.imp(0.5, rounds=1, steps=3, dense=5, rewind=2)
    assert kinds(late) == [Wait, Remember, Wait, Choose, Mask, Rewind, Wait]
    assert [part.steps for part in late.body.parts if isinstance(part, Wait)] == [2, 3, 3]
    assert late.rounds == (5, 3)
    assert nk.methods.imp(0.5, rewind=False) == nk.methods.imp(0.5)
    start = nk.methods.imp(0.5, rounds=1, steps=3, dense=0, rewind=0)
    assert kinds(start) == [Remember, Choose, Mask, Rewind, Wait]
    assert kinds(nk.methods.imp(0.5, rounds=1, steps=3, dense=3, rewind=3))[:3] == [Wait, Remember, Choose]


def test_spur_is_imp_with_a_penalty_beside_it() -> None:
    target = nk.Ratio(0.9, only="*.layer.*")
    spur = nk.methods.spur(target, rounds=3, steps=2, alpha=0.5, rewind=1)
    plain, penalty = spur.body.parts
    assert plain == nk.methods.imp(target, rounds=3, steps=2, rewind=1).body
    assert penalty == Regularize(RowColumn(), 0.5, target)
    assert spur.rounds == nk.methods.imp(target, rounds=3, steps=2).rounds
    assert "reconstructed" in spur.departs[0]
    assert len({repr(nk.methods.spur(0.9, steps=1, reading=r).body) for r in READINGS}) == len(READINGS)


def test_gradual_follows_its_cubic_and_ends_on_its_share() -> None:
    part = nk.methods.gradual(0.9, steps=5, every=2, first=0.1).body.parts[0]
    assert isinstance(part, Gradually)
    assert [part.at(done).target.removed for done in (1, 3, 5)] == pytest.approx([0.1, 0.8, 0.9])
    assert part.at(5).target.removed == 0.9
    method = nk.methods.gradual(0.9, steps=5, dense=2, after=4)
    assert kinds(method) == [Wait, Gradually, Wait]
    assert method.body.longest == 11
    assert kinds(nk.methods.movement(0.9, steps=5)) == [Gradually]
    low = nk.methods.gradual(nk.Ratio({"a": 0.3, "b": 0.9}), steps=5, first=0.5).body.parts[0]
    assert low.at(1).target.removed == {"a": 0.3, "b": 0.5}  # more than asked for never goes


def test_rates_start_anew_in_every_round() -> None:
    share = per_round((4, 2), warmup=0.5)
    assert [share(step) for step in range(7)] == [0, 0.5, 1, 0.5, 0, 1, 0]
    flat = per_round((2, 4))
    assert [flat(step) for step in range(7)] == [1, 0.5, 1, 0.75, 0.5, 0.25, 0]


def test_two_of_four_by_hand() -> None:
    worth = torch.tensor([[1.0, 5.0, 3.0, 2.0, 7.0, 7.0, 7.0, 7.0]])
    gone = select_each({"w": worth}, nk.NM("2:4"))["w"]
    assert gone.int().tolist() == [[1, 0, 0, 1, 1, 1, 0, 0]]  # of equals, the first go


def test_two_of_four_input_channels_of_a_convolution() -> None:
    torch.manual_seed(0)
    worth = torch.rand(3, 8, 2, 2)
    gone = select_each({"w": worth}, nk.NM("1:4"))["w"]
    kept = (~gone).reshape(3, 2, 4, 2, 2)
    assert (kept.sum(2) == 1).all()
    assert torch.equal(worth.reshape(3, 2, 4, 2, 2).amax(2), (worth * ~gone).reshape(3, 2, 4, 2, 2).sum(2))


def test_two_of_four_go_along_the_inputs_of_every_layer() -> None:
    """By hand: a layer of transformers that keeps its weight as (inputs, outputs), and a transposed convolution."""
    from transformers.pytorch_utils import Conv1D

    model = nn.ModuleList([Conv1D(2, 4), nn.ConvTranspose1d(4, 3, 2), nn.Linear(4, 3)])
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 9.0], [5.0, 2.0], [3.0, 7.0], [2.0, 8.0]]))
        for p in (model[1].weight, model[2].weight):
            p.copy_(torch.rand(p.shape))
    gone = select_each(worth_each(nk.scores.L1(), single_weights(model)), nk.NM("2:4"))
    assert gone["0.weight"].int().tolist() == [[1, 0], [0, 1], [0, 1], [1, 0]]
    assert (gone["1.weight"].sum(0) == 2).all()
    assert (gone["2.weight"].sum(1) == 2).all()


def test_inputs_of_one_output_are_counted_together() -> None:
    """Of a grouped transposed convolution: two of eight input channels meet in an output; and of a matrix of (inputs,
    outputs) the inputs count."""
    from transformers.pytorch_utils import Conv1D

    model = nn.ModuleList([nn.ConvTranspose1d(8, 8, 3, groups=4), nn.ConvTranspose1d(8, 4, 3, groups=2), Conv1D(4, 6)])
    assert offered(single_weights(model), nk.NM("2:4")) == ["1.weight"]


def test_what_is_no_number_has_no_place_in_an_order() -> None:
    """It was kept as the largest of all; what is infinite, by a score's own will, still is."""
    worth = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[1.0, float("nan")], [0.0, 2.0]])}
    for target in (nk.Ratio(0.5), nk.Ratio(0.5, scope="global"), nk.NM("1:2", only="b")):
        with pytest.raises(BadInput, match=r"weights of 'b' are worth NaN.*\(1 of \d tensors\).* diverged"):
            select_each(worth, target)
    assert list(select_each(worth, nk.Ratio(0.5, only="a"))) == ["a"]
    kept = select_each({"a": torch.tensor([float("inf"), 1.0, 2.0, float("inf")])}, nk.Ratio(0.5))["a"]
    assert kept.tolist() == [False, True, True, False]


def test_what_has_no_groups_of_m_is_left_alone() -> None:
    worth = {"first": torch.rand(8, 3), "second": torch.rand(8, 8)}
    assert list(select_each(worth, nk.NM("2:4"))) == ["second"]
    with pytest.raises(NothingToPrune, match=r"multiple of 4, and none is: first \(8, 3\)"):
        select_each({"first": worth["first"]}, nk.NM("2:4"))


def test_weights_of_a_layer_compete_with_each_other() -> None:
    worth = {
        "layer.0.a": torch.tensor([[1.0, 2.0]]),
        "layer.0.b": torch.tensor([[3.0, 4.0]]),
        "layer.1.a": torch.tensor([[0.1, 0.2]]),
        "layer.1.b": torch.tensor([[9.0, 8.0]]),
        "head": torch.tensor([[5.0, 6.0]]),
    }
    gone = select_each(worth, nk.Ratio(0.5, scope="layer"))
    assert {n: g.flatten().int().tolist() for n, g in gone.items()} == {
        "layer.0.a": [1, 0],  # the last of a tensor stays, so that 3 goes
        "layer.0.b": [1, 0],
        "layer.1.a": [1, 0],
        "layer.1.b": [0, 1],
        "head": [1, 0],
    }


def test_what_is_gone_goes_first_and_counts() -> None:
    """Of four weights, 0.1 is the least; the largest is gone already, and half are to go."""
    worth = {"w": torch.tensor([[0.4, 0.3, 0.1, 9.0]])}
    gone = select_each(worth, nk.Ratio(0.5), {"w": torch.tensor([[False, False, False, True]])})
    assert gone["w"].tolist() == [[False, False, True, True]]


METHODS = [
    nk.methods.imp(0.9, rounds=(0.5, 0.8), steps=3, rewind=1),
    nk.methods.imp(nk.Ratio(0.9, scope="layer"), rounds=2, steps=3, spacing="linear", dense=0),
    *(nk.methods.spur(0.9, rounds=1, steps=3, reading=r) for r in READINGS),
    nk.methods.spur(0.9, rounds=2, steps=3, proximal=True, alpha=0.0),
    nk.methods.gradual(0.8, steps=9, every=2, first=0.5, dense=3, after=2),
    nk.methods.movement(nk.Ratio(0.8, scope="global"), steps=9),
    nk.methods.nm(nk.NM("1:4", only="a*")),
]


@pytest.mark.parametrize("method", METHODS, ids=[f"{k} {m.name}" for k, m in enumerate(METHODS)])
def test_each_goes_to_json_and_back(method: Method) -> None:
    assert from_json(json.loads(json.dumps(to_json(method)))) == method


def test_each_can_be_made_of_plain_settings() -> None:
    build, target = nk.methods.build, {"ratio": 0.9, "only": "*.layer.*", "scope": "layer"}
    made = build("spur", {"target": target, "rounds": [0.5, 0.8], "steps": 3, "alpha": 1e-3, "reading": "l1"})
    expected = nk.Ratio(0.9, only="*.layer.*", scope="layer")
    assert made == nk.methods.spur(expected, rounds=[0.5, 0.8], steps=3, alpha=1e-3, reading="l1")
    assert build("nm", {"target": {"nm": "2:4"}}) == nk.methods.nm()
    assert build("imp", {"target": {"ratio": 0.5}, "steps": 2, "score": "Random"}) == nk.methods.imp(
        0.5, steps=2, score=nk.scores.Random()
    )


REFUSED = [
    (lambda: nk.methods.imp(nk.Macs(0.5), steps=1), r"the target is nk.Ratio\(0.9\), or a plain 0.9, not Macs"),
    (lambda: nk.methods.imp(1.0, steps=1), "must be a number from 0 up to, not including, 1, not 1.0"),
    (lambda: nk.methods.imp(0.5, steps=0), "steps must be a whole number of at least 1, not 0"),
    (lambda: nk.methods.imp(0.5, steps=1, rounds=0), "rounds must be a whole number of at least 1, not 0"),
    (lambda: nk.methods.imp(0.5, steps=1, rounds=(0.3, 0.2)), r"each larger than the one before.*\[0.3, 0.2, 0.5\]"),
    (lambda: nk.methods.imp(0.5, steps=1, rounds=(0.5,)), "each larger than the one before"),
    (lambda: nk.methods.imp(0.5, steps=1, spacing="cubic"), "spacing must be 'geometric' or 'linear', not 'cubic'"),
    (lambda: nk.methods.imp(0.5, steps=2, rewind=3), "rewind=3 comes after the first choice.* after 2 dense steps"),
    (lambda: nk.methods.imp(0.5, steps=2, rewind=-1), "rewind must be a whole number of at least 0"),
    (lambda: nk.methods.spur(0.5, steps=2, alpha=-1.0), "alpha must be a number of at least 0, not -1.0"),
    (
        lambda: nk.methods.imp(0.5, steps=2, rounds=2.0),
        r"rounds is how many \(5\), or the shares on the way.*, not 2.0",
    ),
    (lambda: nk.methods.spur(0.5, steps=2, rounds="5"), "rounds is how many .*, not '5'"),
    (lambda: nk.methods.imp(0.5, steps=2, rounds=["0.2"]), r"rounds is how many .*, not \['0.2'\]"),
    (lambda: nk.methods.imp(0.5, steps=2, rounds=True), "rounds must be a whole number of at least 1, not True"),
    (lambda: nk.methods.spur(0.5, steps=2, reading="l3"), "no reading is called 'l3'; did you mean"),
    (lambda: nk.methods.spur(0.5, steps=2, reading="unevenness", proximal=True), "Unevenness has no proximal step"),
    (lambda: nk.methods.gradual(0.5, steps=2, first=1.0), "first is the share that goes at once"),
    (lambda: nk.methods.gradual(0.5, steps=2, every=0), "every must be a whole number"),
    (
        lambda: nk.methods.gradual(0.5, steps=2, first=0.6),
        "first=0.6 would take more at once than the target in the end, 0",
    ),
    (lambda: nk.methods.spur(0.5, steps=2, proximal="yes"), "proximal must be True or False, not 'yes'"),
    (lambda: nk.methods.nm(nk.Ratio(0.75)), r"nm lets N of every M weights stay: its target is nk.NM.*, not Ratio"),
    (lambda: nk.methods.build("nm", {"target": {"ratio": 0.75}}), r"its target is .*\{nm: '2:4'\} in a recipe"),
    (lambda: nk.methods.imp(0.5, steps=2, score=nk.scores.L1), r"a score is a value such as nk.scores.L1\(\), not <cl"),
    (lambda: Gradually(Choose(), 3), "choose single weights, by nk.Ratio"),
    (lambda: nk.NM("4:4"), "NM is written 'N:M', with N of every M weights to stay"),
    (lambda: nk.NM("half"), "NM is written 'N:M'"),
    (lambda: nk.NM("2:4", scope="global"), "scope='global' would contradict it"),
    (lambda: Choose(target=nk.NM(), of="units").target and nk.plan(graph(), target=nk.NM()), "cannot be chosen by NM"),
    (lambda: nk.plan(graph(), target=nk.Ratio(0.5, scope="layer")), "scope='layer' is for single weights"),
    (lambda: per_round((1,), warmup=2.0), "warmup is the share of a round's steps"),
    (lambda: per_round(nk.methods.nm().rounds), "starts the rate anew in each round, and there is none.* with steps"),
]


def graph() -> nk.Graph:
    return nk.trace(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.ones(1, 4))


@pytest.mark.parametrize(("make", "told"), REFUSED, ids=[told[:40] for _, told in REFUSED])
def test_what_cannot_be_is_refused(make, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        make()
