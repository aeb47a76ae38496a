"""Single weights: chosen by magnitude, pressed, zeroed, and kept zero while training goes on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.methods import Choose, Cut, Hold, Mask, Method, Press, Wait, sequence
from niwaki.penalties import Ridge
from niwaki.schedules import Ramp
from niwaki.surgery.singles import select_each, single_weights

LR = 0.1


def net() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        made[0].weight.copy_(torch.tensor([[0.5, -1.0], [2.0, 0.25]]))
        made[2].weight.copy_(torch.tensor([[3.0, -4.0], [5.0, -6.0]]))
    return made


def pruning(model: nn.Module, method: Method, **options: Any) -> nk.Pruning:
    return nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=LR), method, torch.ones(1, 2), **options)


def step(run: nk.Pruning, gradient: float = 0.0) -> None:
    for p in run.model.parameters():
        p.grad = torch.full_like(p, gradient)
    run.step()


def greg1(target: nk.targets.Target, **settings: Any) -> Method:
    return nk.methods.greg1(target, **{"grow": 1.0, "every": 2, "ceiling": 1.5, "hold": 1, "of": "weights", **settings})


def test_each_tensor_loses_its_share_of_the_least() -> None:
    model = net()
    gone = select_each({n: w.detach().abs() for n, w in single_weights(model).items()}, nk.Ratio(0.5))
    assert gone["0.weight"].tolist() == [[True, False], [False, True]]
    assert gone["2.weight"].tolist() == [[True, True], [False, False]]


def test_globally_the_least_of_all_go_and_every_tensor_keeps_one() -> None:
    worth = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0, 9.0], [4.0, 5.0]])}
    gone = select_each(worth, nk.Ratio(0.5, scope="global"))
    assert {n: g.flatten().tolist() for n, g in gone.items()} == {
        "a": [True, False],  # 2 is the last of its tensor, so that 3 and 4 go in its place
        "b": [True, False, True, False],
    }
    most = select_each(worth, nk.Ratio(0.99, scope="global"))
    assert [int((~g).sum()) for g in most.values()] == [1, 1]


def test_of_equals_the_first_go() -> None:
    gone = select_each({"a": torch.ones(5)}, nk.Ratio(0.4))
    assert gone["a"].tolist() == [True, True, False, False, False]


def test_patterns_name_tensors_and_the_rest_is_left_alone() -> None:
    worth = {n: w.detach().abs() for n, w in single_weights(net()).items()}
    assert list(select_each(worth, nk.Ratio(0.5, skip="0.*"))) == ["2.weight"]
    assert list(select_each(worth, nk.Ratio({"0.*": 0.5}))) == ["0.weight"]
    with pytest.raises(BadInput, match=r"the pattern 'fc\*' matches no .*0.weight, 2.weight"):
        select_each(worth, nk.Ratio(0.5, only="fc*"))


def test_tables_and_vectors_are_no_weights_of_this_kind() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 3), nn.Conv1d(4, 4, 1))
    assert list(single_weights(model)) == ["2.weight", "3.weight"]


def test_chosen_weights_shrink_and_then_stay_zero() -> None:
    """Factors 1, 1, 2, which is above the ceiling; one step more at 2; then zeros, whatever the gradient says."""
    model = net()
    run = pruning(model, greg1(nk.Ratio(0.5, only="0.*")))
    weight = 0.5
    for factor in (1.0, 1.0, 2.0):
        step(run)
        weight *= 1 - LR * factor
        assert run.pressure == {"0.weight": factor}
        assert model[0].weight.flatten().tolist() == pytest.approx([weight, -1.0, 2.0, weight / 2])
    assert not run.finished
    step(run)
    assert run.finished
    assert model[0].weight.flatten().tolist() == [0.0, -1.0, 2.0, 0.0]
    step(run, 1.0)
    assert model[0].weight.flatten().tolist() == pytest.approx([0.0, -1.1, 1.9, 0.0])
    assert model[2].weight[0, 0].item() == pytest.approx(2.9)


def test_kept_weights_are_let_grow_in_the_second_phase_alone() -> None:
    model = net()
    settings = {"pick_grow": 1.0, "pick_at": 1.0, "grow": 1.0, "every": 1, "ceiling": 1.5, "restore": 0.5, "hold": 0}
    run = pruning(model, nk.methods.greg2(nk.Ratio(0.5, only="0.*"), of="weights", **settings))
    step(run)
    assert model[0].weight.flatten().tolist() == pytest.approx([0.45, -0.9, 1.8, 0.225])
    step(run)  # 2 on what was picked, -0.5 on the others, and the end
    assert run.finished
    assert model[0].weight.flatten().tolist() == pytest.approx([0.0, -0.945, 1.89, 0.0])


def test_one_call_puts_zeros_into_a_copy() -> None:
    model = net()
    sparse = nk.prune(model, torch.ones(1, 2), nk.methods.magnitude(nk.Ratio(0.5), of="weights"))
    assert int((sparse[0].weight == 0).sum()) == int((sparse[2].weight == 0).sum()) == 2
    assert not (model[0].weight == 0).any()


def test_a_model_of_which_no_unit_can_go_is_no_obstacle() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(nk.errors.NothingToPrune):
        nk.trace(model, torch.ones(1, 2))
    run = pruning(model, greg1(nk.Ratio(0.5)))
    step(run)
    assert list(run.chosen) == ["0.weight"]
    with pytest.raises(BadInput, match=r"greg1 prunes single weights and made no graph; nk\.trace makes one"):
        print(run.graph)


@pytest.mark.parametrize("stop", [0, 1, 3, 4, 6])
def test_it_resumes_at_any_step(stop: int, tmp_path: Any) -> None:
    whole = pruning(net(), greg1(nk.Ratio(0.5)))
    for _ in range(7):
        step(whole, 0.01)
    first = pruning(net(), greg1(nk.Ratio(0.5)))
    for _ in range(stop):
        step(first, 0.01)
    torch.save({"run": first.state_dict(), "model": first.model.state_dict()}, tmp_path / "state")
    state = torch.load(tmp_path / "state", weights_only=True)
    second = pruning(net(), greg1(nk.Ratio(0.5)))
    second.load_state_dict(state["run"])
    second.model.load_state_dict(state["model"])
    for _ in range(7 - stop):
        step(second, 0.01)
    for left, right in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(left, right)
    assert int((second.model[0].weight == 0).sum()) == 2


def test_the_record_counts_them() -> None:
    rows: list[dict[str, Any]] = []
    run = pruning(net(), greg1(nk.Ratio(0.5)), record=rows.append)
    while not run.finished:
        step(run)
    assert rows[0]["weights"] == {"0.weight": 2, "2.weight": 2}
    assert all("norms" not in row and row["spread"] > 0 for row in rows if row["event"] == "press")


def test_the_parts_of_the_method() -> None:
    target = nk.Ratio(0.5)
    assert nk.methods.greg1(target, of="weights").body == sequence(
        Choose(nk.scores.L1(), target, "weights"),
        Press(Ridge(), Ramp(1e-4, 10), ceiling=1.0, parted=None, of="weights"),
        Hold(5_000, of="weights"),
        Mask(),
    )


def test_what_makes_no_sense_is_refused() -> None:
    target = nk.Ratio(0.5)
    with pytest.raises(BadInput, match=r"single weights are counted: their target is nk\.Ratio or nk\.NM, not Macs"):
        nk.methods.greg1(nk.Macs(0.5), of="weights")
    with pytest.raises(BadInput, match=r"of must be 'units' \(.*\) or 'weights' \(.*\), not 'filters'"):
        nk.methods.magnitude(target, of="filters")
    mixed = Method("mixed", sequence(Choose(nk.scores.L1(), target, "weights"), Wait(1), Cut()))
    with pytest.raises(BadInput, match="mixed chooses single weights, and has a cut"):
        pruning(net(), mixed)
    blind = Method("blind", sequence(Choose(lambda group, tensors: None, target, "weights"), Mask()))
    with pytest.raises(BadInput, match=r"function scores whole units and not single weights"):
        pruning(net(), blind)


def test_parts_for_units_do_not_mix_with_parts_for_single_weights() -> None:
    target = nk.Ratio(0.5)
    for parts in (
        (Choose(nk.scores.L1(), target, "weights"), Press(), Mask()),
        (Choose(nk.scores.L1(), target, "weights"), Press(of="weights", parted=None), Hold(1), Mask()),
        (Choose(nk.scores.L1(), target), Press(of="weights"), Mask()),
    ):
        with pytest.raises(BadInput, match="mixed has parts for units and parts for single weights"):
            pruning(net(), Method("mixed", sequence(*parts)))


def test_every_mask_keeps_what_it_was_given() -> None:
    """Two choices, each masked at its place: the second does not let the first go."""
    first, second = (Choose(nk.scores.L1(), nk.Ratio(0.5, only=name), "weights") for name in ("0.*", "2.*"))
    at_once = Method("both", sequence(first, Mask(), second, Mask()))
    sparse = nk.prune(net(), torch.ones(1, 2), at_once)
    assert [int((sparse[k].weight == 0).sum()) for k in (0, 2)] == [2, 2]
    run = pruning(net(), Method("both", sequence(first, Mask(), Wait(2), second, Mask(), Wait(2))))
    while not run.finished:
        step(run, 0.1)
    assert [int((run.model[k].weight == 0).sum()) for k in (0, 2)] == [2, 2]


def test_a_ratio_by_pattern_must_match_a_tensor() -> None:
    with pytest.raises(BadInput, match=r"the pattern 'fc\*' matches no .*0.weight, 2.weight"):
        pruning(net(), greg1(nk.Ratio({"fc*": 0.5})))


def test_globally_nothing_may_go() -> None:
    assert select_each({"a": torch.ones(2)}, nk.Ratio(0.0, scope="global")) == {}


def test_a_model_without_single_weights_is_told() -> None:
    tables = nn.Sequential(nn.Embedding(4, 4))
    with pytest.raises(nk.errors.NothingToPrune, match="Sequential has no single weights that can go"):
        nk.prune(tables, torch.zeros(1, dtype=torch.long), nk.methods.magnitude(nk.Ratio(0.5), of="weights"))


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_what_a_weight_is_computed_from_is_refused(norm: Any) -> None:
    """A row of zeros would be divided by its length, and lengths are no weights."""
    model = net()
    norm(model[2])
    with pytest.raises(BadInput, match=r"'2\..*(original0|weight_g)' is no weight but what one is computed from"):
        pruning(model, greg1(nk.Ratio(0.9)))
    skipping = pruning(model, greg1(nk.Ratio(0.5, skip="2.*")))
    step(skipping)
    assert list(skipping.chosen) == ["0.weight"]


def test_a_width_to_round_to_is_refused() -> None:
    with pytest.raises(BadInput, match="round_to=8 would do nothing"):
        nk.methods.magnitude(nk.Ratio(0.5, round_to=8), of="weights")


def test_wrapped_models_are_pruned_by_their_own_names() -> None:
    model = net()
    run = pruning(nn.DataParallel(model), greg1(nk.Ratio(0.5, only="0.*")))
    while not run.finished:
        step(run)
    assert model[0].weight.flatten().tolist() == pytest.approx([0.0, -1.0, 2.0, 0.0])


def test_nothing_is_pressed_any_more_when_it_is_finished() -> None:
    settings = {"pick_grow": 1.0, "pick_at": 1.0, "grow": 1.0, "every": 1, "ceiling": 1.5, "hold": 0}
    run = pruning(net(), nk.methods.greg2(nk.Ratio(0.5), of="weights", **settings))
    while not run.finished:
        step(run)
    assert run.pressure == run.kept_pressure == {}


def test_masks_come_back_to_where_the_weights_are() -> None:
    """A state that was read onto the processor, and a model that is elsewhere."""
    run = pruning(net(), nk.methods.magnitude(nk.Ratio(0.5), of="weights"))
    step(run)
    second = pruning(net(), nk.methods.magnitude(nk.Ratio(0.5), of="weights"))
    second.model.to("meta")
    second.load_state_dict(run.state_dict())
    assert {mask.device.type for mask in (*second._zeros.gone.values(), *second.chosen.values())} == {"meta"}


def test_weights_are_read_only_if_something_depends_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    run = pruning(net(), greg1(nk.Ratio(0.5)))
    step(run)  # chooses
    each, read = nk.scores.L1.each, []
    monkeypatch.setattr(nk.scores.L1, "each", lambda self, *given: read.append(run.steps) or each(self, *given))
    while not run.finished:
        step(run)
    assert read == [run.steps] * len(run.chosen)  # once, for the log, when they go


def test_masks_of_single_weights_take_a_byte_each() -> None:
    run = pruning(net(), greg1(nk.Ratio(0.5)))
    step(run)
    assert run._pressure is not None
    marks = [target.chosen for found in run._pressure._targets.values() for target in found]
    assert [mark.dtype for mark in marks] == [torch.bool, torch.bool]
    assert all(mark.data_ptr() == run.chosen[n].data_ptr() for mark, n in zip(marks, run.chosen, strict=True))
