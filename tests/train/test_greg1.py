"""GReg-1 step by step on known weights: no gradient but the penalty's, plain SGD, every factor worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.methods import Choose, Cut, Hold, Method, Press, sequence
from niwaki.penalties import Ridge
from niwaki.schedules import Ramp

LR = 0.1


def net() -> nn.Sequential:
    """Three hidden units of weight 0.5, -1 and 2: the first is the least."""
    made = nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        made[0].weight.copy_(torch.tensor([[0.5], [-1.0], [2.0]]))
        made[0].bias.fill_(7.0)
        made[3].weight.fill_(5.0)
        made[3].bias.fill_(5.0)
    return made.eval()


def pressed(
    model: nn.Module, method: nk.methods.Method, *, record: Any = None, **options: Any
) -> tuple[nk.Pruning, torch.optim.Optimizer]:
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    return nk.Pruning(model, optimizer, method, torch.ones(2, 1), record=record, **options), optimizer


def step(run: nk.Pruning) -> None:
    """One step in which the loss has no gradient at all."""
    for p in run.model.parameters():
        p.grad = torch.zeros_like(p) if p.requires_grad else None
    run.step()


def steps(run: nk.Pruning, many: int) -> None:
    for _ in range(many):
        step(run)


def greg1(**settings: Any) -> nk.methods.Method:
    return nk.methods.greg1(nk.Ratio(1 / 3), **{"grow": 1.0, "every": 2, "ceiling": 2.5, "hold": 3} | settings)


def test_the_weight_shrinks_by_one_minus_rate_times_factor() -> None:
    """Factors 1, 1, 2, 2, then 3, which passes 2.5: the first unit is done; three more steps at 3, then the cut."""
    model = net()
    run, _ = pressed(model, greg1(parted=None))
    weight = 0.5
    for k, factor in enumerate([1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0]):
        step(run)
        weight *= 1 - LR * factor
        assert run.pressure == {"0": factor}, k
        assert run.chosen == {"0": (0,)}
        assert model[0].weight.flatten().tolist() == pytest.approx([weight, -1.0, 2.0])
        assert (run.finished, run.receipt, run.steps) == (False, None, k + 1)
    step(run)
    assert run.finished
    assert run.steps == 8
    assert model[0].weight.flatten().tolist() == [-1.0, 2.0]
    assert run.receipt is not None
    assert run.receipt.tensors["3.weight"] == ((1, 3), (1, 2))
    assert run.chosen == run.pressure == {}


def test_nothing_but_the_makers_weights_is_pressed() -> None:
    model = net()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    run, _ = pressed(model, greg1())
    step(run)
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert changed == ["0.weight"]


@pytest.mark.parametrize("hold", [1, 4])
def test_it_holds_for_exactly_so_many_steps(hold: int) -> None:
    """The pressing takes five steps: 1, 1, 2, 2, 3."""
    run, _ = pressed(net(), greg1(hold=hold, parted=None))
    for _ in range(5 + hold):
        assert not run.finished
        assert run.model[0].out_features == 3
        step(run)
    assert run.finished
    assert run.model[0].out_features == 2


def test_it_cuts_at_once_if_there_is_nothing_to_hold() -> None:
    run, _ = pressed(net(), greg1(hold=0, parted=None))
    for _ in range(5):
        step(run)
    assert run.finished
    assert run.model[0].out_features == 2


def test_the_ceiling_itself_is_still_below() -> None:
    """Factors 1, 2, 3 with a ceiling of 2: it is done at 3, the first that is above."""
    run, _ = pressed(net(), greg1(every=1, ceiling=2.0, hold=1, parted=None))
    for factor in (1.0, 2.0, 3.0):
        step(run)
        assert run.pressure == {"0": factor}
    step(run)
    assert run.finished


def test_the_ratio_of_kept_to_chosen_is_averaged_before_it_stops() -> None:
    """Kept 1.5 in the mean, chosen 0.5 × 1, 0.9, 0.9·0.8, 0.9·0.8·0.7: ratios 3, 3.333, 4.167, 5.952. Averaged 0.9 to
    0.1: 3, 3.033, 3.147, 3.427. A bar of 3.3 is passed by the ratio on step 1 and by the average on step 3."""
    rows: list[dict[str, Any]] = []
    run, _ = pressed(net(), greg1(every=1, ceiling=100.0, hold=1, parted=3.3), record=rows.append)
    for _ in range(5):
        assert not run.finished
        step(run)
    assert run.finished
    found = [row for row in rows if row["event"] == "press"]
    assert [row["ratio"] for row in found] == pytest.approx([3.0, 3 + 1 / 30, 3.146667, 3.427238], rel=1e-5)
    assert [row["done"] for row in found] == [False, False, False, True]
    assert [row["penalty"] for row in found] == [1.0, 2.0, 3.0, 4.0]


def test_the_early_stop_waits_for_all_groups() -> None:
    """The first group's ratio is 1000 from the start, the second's is 2."""
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.001], [1.0]]))
        model[2].weight.copy_(torch.tensor([[1.0, 1.0], [2.0, 2.0]]))
    method = nk.methods.greg1(nk.Ratio(0.5), grow=1.0, every=1, ceiling=3.5, hold=1, parted=10.0)
    run, _ = pressed(model, method)
    for _ in range(4):
        step(run)
        assert not run.finished
    assert run.pressure == {"0": 4.0, "2": 4.0}
    step(run)
    assert run.finished


def test_a_chosen_unit_of_no_weight_has_parted_at_once() -> None:
    model = net()
    with torch.no_grad():
        model[0].weight[0] = 0.0
    run, _ = pressed(model, greg1(hold=1))
    step(run)
    step(run)
    assert run.finished


def test_the_rows_of_a_record_in_order() -> None:
    rows: list[dict[str, Any]] = []
    run, _ = pressed(net(), greg1(parted=None), record=rows.append)
    while not run.finished:
        step(run)
    assert [(r["step"], r["event"]) for r in rows] == [
        (0, "choose"),
        (0, "phase"),
        (0, "press"),
        (2, "press"),
        (4, "press"),
        (5, "phase"),
        (8, "cut"),
    ]
    assert [r["phase"] for r in rows if r["event"] == "phase"] == ["press", "hold"]
    assert rows[0]["chosen"] == {"0": [0]}
    first = rows[2]
    assert (first["group"], first["penalty"], first["done"]) == ("0", 1.0, False)
    assert first["norms"] == [0.5, 1.0, 2.0]
    # Mean 7/6, deviations -4/6, -1/6, 5/6: variance (16 + 1 + 25) / 36 / 2.
    assert first["spread"] == pytest.approx((42 / 72) ** 0.5 / (7 / 6))
    # Two steps at factor 1 later the first is 0.5 · 0.81.
    assert rows[3]["norms"] == pytest.approx([0.405, 1.0, 2.0])


def test_record_every_thins_the_pressing_alone() -> None:
    rows: list[dict[str, Any]] = []
    run, _ = pressed(net(), greg1(parted=None), record=rows.append, record_every=2)
    while not run.finished:
        step(run)
    assert [r["step"] for r in rows if r["event"] == "press"] == [0, 4]
    assert {r["event"] for r in rows} == {"choose", "phase", "press", "cut"}


def test_the_penalty_is_added_after_clipping() -> None:
    """A gradient of norm 50 is clipped to 1 by the user; the penalty comes on top of it, unclipped."""
    model = net()
    run, _ = pressed(model, greg1(grow=4.0, ceiling=100.0))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    grad = torch.tensor([[30.0], [40.0], [0.0]])
    model[0].weight.grad = grad.clone()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    run.step()
    # 0.5 - 0.1·(0.6 + 4·0.5), and -1 - 0.1·0.8
    assert model[0].weight.flatten().tolist() == pytest.approx([0.24, -1.08, 2.0], rel=1e-5)


def test_the_gradient_given_is_the_one_that_is_used() -> None:
    model = net()
    run, optimizer = pressed(model, greg1())
    seen: list[Tensor] = []
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: seen.append(model[0].weight.grad.clone()))
    step(run)
    assert seen[0].flatten().tolist() == [0.5, 0.0, 0.0]


def two() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)).eval()


@pytest.mark.parametrize("of", ["units", "weights"])
@pytest.mark.parametrize("how", ["frozen", "not held"])
def test_what_is_not_trained_cannot_be_pressed(how: str, of: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It would never part from the rest, and be cut as it is: by that name it is told, and can be left out."""
    model = two()
    held = [p for name, p in model.named_parameters() if how == "frozen" or not name.startswith("0.")]
    model[0].requires_grad_(how != "frozen")
    optimizer = torch.optim.SGD(held, lr=LR)
    name = "0.weight" if of == "weights" else "0"
    method = nk.methods.greg1(nk.Ratio(0.5), hold=0, of=of)
    if how == "frozen":
        with pytest.raises(BadInput, match=rf"greg1 presses .* those of '{name}' do not .*: skip='{name}'"):
            nk.Pruning(model, optimizer, method, torch.ones(2, 2))
    elif of == "units":
        with pytest.raises(BadInput, match=r"greg1 cuts .* not hold \('0\.weight', '0\.bias'\): .*optimizer=\[one"):
            nk.Pruning(model, optimizer, method, torch.ones(2, 2))
        model[0].requires_grad_(False)
    else:  # there may be another optimizer
        nk.Pruning(model, optimizer, method, torch.ones(2, 2))
        assert f"greg1 presses units of '{name}', and the optimizer holds nothing" in caplog.text
    caplog.clear()
    nk.Pruning(model, optimizer, nk.methods.greg1(nk.Ratio(0.5, skip=name), hold=0, of=of), torch.ones(2, 2))
    nk.Pruning(model, optimizer, nk.methods.magnitude(nk.Ratio(0.5), of=of), torch.ones(2, 2))
    assert not caplog.records


def test_what_is_cut_before_need_not_be_trained() -> None:
    model = two()
    model[0].requires_grad_(False)
    first, second = (Choose(nk.scores.L1(), nk.Ratio(0.5, only=name)) for name in ("0", "2"))
    press, optimizer = Press(Ridge(), Ramp(0.1, 2)), torch.optim.SGD(model.parameters(), lr=LR)
    nk.Pruning(model, optimizer, Method("both", sequence(first, Cut(), second, press, Cut())), torch.ones(2, 2))
    with pytest.raises(BadInput, match="those of '0' do not"):
        nk.Pruning(model, optimizer, Method("both", sequence(second, Cut(), first, press, Cut())), torch.ones(2, 2))


@pytest.mark.parametrize("which", ["kept", "chosen"])
def test_weights_that_are_no_numbers_are_not_taken_for_parted(which: str) -> None:
    model = net()
    run, _ = pressed(model, greg1())
    step(run)
    with torch.no_grad():
        model[0].weight[2 if which == "kept" else 0] = float("nan")
    with pytest.raises(BadInput, match=r"the weights of '0' are not finite any more: .* smaller learning rate"):
        steps(run, 20)


class Scaler:
    """As the gradient scaler of mixed precision: gradients arrive times 8."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
        self.calls.append("unscale")
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad.div_(8.0)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        self.calls.append("step")
        optimizer.step()


def test_scaled_gradients_are_unscaled_before_the_penalty() -> None:
    model, scaler = net(), Scaler()
    run, _ = pressed(model, greg1())
    for p in model.parameters():
        p.grad = torch.full_like(p, 8.0)
    run.step(scaler)
    assert scaler.calls == ["unscale", "step"]
    # 0.5 - 0.1·(1 + 1·0.5), and 2 - 0.1·1
    assert model[0].weight.flatten().tolist() == pytest.approx([0.35, -1.1, 1.9])


def test_after_the_end_it_is_a_plain_step() -> None:
    model = net()
    run, _ = pressed(model, greg1(hold=1, ceiling=0.5, parted=None))
    step(run)
    step(run)
    assert run.finished
    receipt = run.receipt
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    run.step()
    assert model[0].weight.flatten().tolist() == pytest.approx([-1.1, 1.9])
    assert (run.receipt, run.steps) == (receipt, 3)


def test_momentum_is_cut_with_the_weights() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.5)
    run = nk.Pruning(model, optimizer, greg1(hold=1, ceiling=0.5, parted=None), torch.ones(2, 1))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    run.step()
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    run.step()
    assert run.finished
    assert optimizer.state[model[0].weight]["momentum_buffer"].flatten().tolist() == pytest.approx([0.5, 0.5])
    assert optimizer.param_groups[0]["params"][0] is model[0].weight


@pytest.mark.parametrize("stop", [0, 3, 5, 7, 8])
def test_it_resumes_in_the_middle_of_any_phase(stop: int) -> None:
    whole, _ = pressed(net(), greg1(parted=None))
    for _ in range(9):
        step(whole)
    first, optimizer = pressed(net(), greg1(parted=None))
    for _ in range(stop):
        step(first)
    state, model, opt = first.state_dict(), first.model.state_dict(), optimizer.state_dict()
    second, optimizer = pressed(net(), greg1(parted=None))
    second.load_state_dict(state)
    second.model.load_state_dict(model)
    optimizer.load_state_dict(opt)
    for _ in range(9 - stop):
        step(second)
    assert (second.steps, second.finished) == (9, True)
    for left, right in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_the_record_goes_on_with_the_same_rows() -> None:
    whole: list[dict[str, Any]] = []
    pieces: list[dict[str, Any]] = []
    run, _ = pressed(net(), greg1(parted=None, every=1, ceiling=6.5), record=whole.append, record_every=2)
    while not run.finished:
        step(run)
    first, _ = pressed(net(), greg1(parted=None, every=1, ceiling=6.5), record=pieces.append, record_every=2)
    for _ in range(3):
        step(first)
    second, _ = pressed(net(), greg1(parted=None, every=1, ceiling=6.5), record=pieces.append, record_every=2)
    second.load_state_dict(first.state_dict())
    second.model.load_state_dict(first.model.state_dict())
    while not second.finished:
        step(second)
    assert pieces == whole


def test_a_state_of_another_method_or_release_is_refused() -> None:
    run, _ = pressed(net(), greg1())
    other, _ = pressed(net(), greg1(hold=4))
    with pytest.raises(nk.errors.BadInput, match="this run state belongs to another method"):
        other.load_state_dict(run.state_dict())
    with pytest.raises(nk.errors.BadInput, match="this run state has version 1, this release reads 4"):
        run.load_state_dict({**run.state_dict(), "version": 1})


def test_the_parts_of_the_method_are_those_of_the_paper() -> None:
    method = nk.methods.greg1(nk.Ratio(0.5))
    assert method.body == sequence(
        Choose(nk.scores.L1(), nk.Ratio(0.5)),
        Press(Ridge(), Ramp(1e-4, 10), ceiling=1.0, parted=1000.0),
        Hold(5_000),
        Cut(),
    )
    assert method.takes_time
    assert len(method.departs) > 0


def test_a_press_that_cannot_end_is_refused() -> None:
    with pytest.raises(nk.errors.BadInput, match="ceiling"):
        Press(Ridge(), Ramp(1.0), ceiling=float("nan"), parted=None)
    with pytest.raises(nk.errors.BadInput, match="schedule"):
        Press(Ridge(), nk.schedules.Constant(0.5), ceiling=1.0, parted=None)
