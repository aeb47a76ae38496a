"""The certificate holds where it must, and does not hold where one thing is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput, StalePlan
from niwaki.surgery import certify as room
from niwaki.units import Axis, Plan
from tests.graph.nets import image

certified = room.certify


def convnet(norm: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), norm or nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
    for p in net.parameters():
        nn.init.normal_(p)
    return net.eval()


def plan_for(net: nn.Module) -> Plan:
    return nk.plan(nk.trace(net, image()), nk.scores.Random(1))


def inputs() -> Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def test_it_holds_for_a_cut_model_forward_and_gradient() -> None:
    net = convnet()
    plan = plan_for(net)
    certificate = certified(net, plan, nk.cut(net, plan), inputs())
    assert certificate.holds
    assert [(c.name, c.against, c.kind) for c in certificate.checks] == [
        ("cut", "masked", "forward"),
        ("cut", "masked", "gradient"),
    ]
    assert str(certificate).startswith("The certificate holds:\n  cut equals masked (forward): worst relative diff")


def test_it_leaves_all_models_as_they_were() -> None:
    net = convnet().train()
    plan = plan_for(net)
    small = nk.cut(net, plan)
    small[0].weight.grad = torch.ones_like(small[0].weight)
    small[3].bias.requires_grad_(False)
    before = [{k: v.clone() for k, v in m.state_dict().items()} for m in (net, small)]
    certified(net, plan, small, inputs())
    for model, old in zip((net, small), before, strict=True):
        assert all(torch.equal(v, old[k]) for k, v in model.state_dict().items())
        assert all(m.training for m in model.modules())
    assert torch.equal(small[0].weight.grad, torch.ones_like(small[0].weight))
    assert small[0].bias.grad is None
    assert not small[3].bias.requires_grad


def test_it_holds_for_a_model_that_was_trained_after_the_cut() -> None:
    net = convnet()
    plan = plan_for(net)
    small = nk.cut(net, plan)
    with torch.no_grad():
        for t in [*small.parameters(), small[1].running_mean]:
            t.add_(0.1)
    assert certified(net, plan, small, inputs()).holds


def test_it_does_not_hold_if_a_removed_place_of_the_twin_is_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry of a removed filter's bias, and of the column that reads it."""
    net = convnet(nn.Identity())
    plan = plan_for(net)
    gone = plan.removed[Axis("0.bias", 0)][0]
    expand = room.expand

    def spoiled(*args: Any) -> nn.Module:
        twin = expand(*args)
        with torch.no_grad():
            twin[0].bias[gone] = 1.0
            twin[3].weight[:, gone] = 1.0
        return twin

    monkeypatch.setattr(room, "expand", spoiled)
    certificate = certified(net, plan, nk.cut(net, plan), inputs())
    assert not certificate.holds
    assert not certificate.checks[0].holds
    assert str(certificate).startswith("THE CERTIFICATE DOES NOT HOLD:\n  cut DIFFERS FROM masked (forward)")


def test_it_does_not_hold_if_maker_and_taker_lost_other_units() -> None:
    """The shapes fit, and a plan that is wrong in this way runs without error."""
    net = convnet(nn.Identity())
    right = plan_for(net)
    shifted = {**right.removed, Axis("3.weight", 1): tuple(sorted((i + 1) % 8 for i in right.removed[("3.weight", 1)]))}
    assert shifted != right.removed
    wrong = Plan(right.tensors, shifted)
    certificate = certified(net, wrong, nk.cut(net, wrong), inputs())
    assert not certificate.holds
    assert certificate.checks[0].worst is not None
    assert certificate.checks[0].worst > 1e-2


def test_it_does_not_hold_if_the_small_model_computes_something_else() -> None:
    net = convnet()
    plan = plan_for(net)
    small = nk.cut(net, plan)
    small[2] = nn.GELU()
    assert not certified(net, plan, small, inputs()).holds
    small = nk.cut(net, plan)
    small[1].eps = 0.5
    assert not certified(net, plan, small, inputs()).holds


def test_a_reloaded_model_may_differ_by_a_tenth_of_the_tolerance() -> None:
    net = convnet()
    plan = plan_for(net)
    small = nk.cut(net, plan)
    assert certified(net, plan, small, inputs(), reloaded=nk.cut(net, plan)).holds
    for spoil in (lambda m: m[0].weight.mul_(1 + 1e-4), lambda m: m[1].running_mean.add_(0.1)):
        other = nk.cut(net, plan)
        with torch.no_grad():
            spoil(other)
        certificate = certified(net, plan, small, inputs(), reloaded=other)
        assert not certificate.holds
        assert [c.holds for c in certificate.checks] == [True, True, False]
        assert certificate.checks[2].tolerance == pytest.approx(1e-6)


def test_a_model_that_writes_to_its_input_is_compared_on_what_was_given() -> None:
    net = nn.Sequential(nn.LeakyReLU(0.2, inplace=True), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    given = x.clone()
    plan = nk.plan(nk.trace(net, x))
    small, again = nk.cut(net, plan), nk.cut(net, plan)
    certificate = certified(net, plan, small, x, reloaded=again, exported=nk.cut(net, plan), also=[x])
    assert certificate.holds
    assert torch.equal(x, given)


def test_an_exported_model_may_differ_by_ten_tolerances() -> None:
    net = convnet()
    plan = plan_for(net)
    small = nk.cut(net, plan)

    def off_by(share: float) -> Callable[[Tensor], Tensor]:
        return lambda x: small(x).detach() * (1 + share)

    found = [certified(net, plan, small, inputs(), exported=off_by(s)).checks[2] for s in (5e-5, 2e-4)]
    assert [c.holds for c in found] == [True, False]
    assert found[0].worst == pytest.approx(5e-5, rel=0.02)
    assert found[0].tolerance == pytest.approx(1e-4)
    other = certified(net, plan, small, inputs(), exported=lambda x: small(x)[:1]).checks[2]
    whole = tuple(small(inputs()).shape)
    said = f"as given: outputs of other shapes: {whole} and {(1, *whole[1:])}"
    assert (other.worst, other.holds, other.detail) == (None, False, said)


def test_values_that_are_not_finite_never_hold() -> None:
    net = convnet()
    plan = plan_for(net)
    small = nk.cut(net, plan)
    with torch.no_grad():
        small[3].bias[0] = float("nan")
    certificate = certified(net, plan, small, inputs())
    assert not certificate.holds
    assert certificate.checks[0].detail == "values that are not finite"
    assert "not comparable" in str(certificate)


@pytest.mark.parametrize(
    "norm", [lambda: nn.GroupNorm(2, 8), lambda: nn.LayerNorm(8), lambda: nn.RMSNorm(8)], ids=["group", "layer", "rms"]
)
def test_norms_over_removed_units_leave_them_out_and_say_so(norm: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    made = norm()
    if isinstance(made, nn.GroupNorm):
        net, x = convnet(made), inputs()
    else:
        net = nn.Sequential(nn.Linear(4, 8), made, nn.GELU(), nn.Linear(8, 2)).eval()
        x = torch.randn(3, 4)
    graph = nk.trace(net, x)
    plan = nk.plan(graph)
    assert graph.groups[0].changes_statistics
    certificate = certified(net, plan, nk.cut(net, plan), x)
    assert certificate.holds
    assert {c.detail for c in certificate.checks} == {"norms and means over removed units leave them out"}
    # The plainly masked model is another: its norms average over zeros.
    with torch.no_grad():
        assert not torch.allclose(nk.mask(net, plan)(x), nk.cut(net, plan)(x), rtol=1e-3)


def test_a_group_norm_of_one_channel_each_is_certified() -> None:
    net = convnet(nn.GroupNorm(8, 8))
    plan = plan_for(net)
    assert certified(net, plan, nk.cut(net, plan), inputs()).holds


def test_what_does_not_belong_together_is_refused() -> None:
    net = convnet()
    plan = plan_for(net)
    with pytest.raises(BadInput, match=r"'0.weight' should have shape \(4, 3, 3, 3\), found \(8, 3, 3, 3\)"):
        certified(net, plan, net, inputs())
    with pytest.raises(StalePlan):
        certified(nn.Linear(3, 2), plan, nk.cut(net, plan), inputs())


def test_a_certificate_is_written_as_json(tmp_path: Path) -> None:
    net = convnet()
    plan = plan_for(net)
    certificate = certified(net, plan, nk.cut(net, plan), inputs())
    data = json.loads(certificate.save(tmp_path / "certificate.json").read_text())
    assert (data["format"], data["version"], data["holds"]) == ("niwaki.certificate", 1, True)
    assert data["model"] == plan.fingerprint
    assert [c["holds"] for c in data["checks"]] == [True, True]
    assert data["environment"]["torch"] == torch.__version__
    assert not room.Certificate((), "", {}).holds


class Cancelling(nn.Module):
    """The small difference of two large numbers: of seven digits that float32 has, two are left."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.plus, self.minus = nn.Linear(8, 500), nn.Linear(500, 3), nn.Linear(500, 3)
        self.minus.load_state_dict(self.plus.state_dict())
        self.minus.weight.data *= 1 + 1e-5 * torch.randn(3, 500)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        return self.plus(hidden) - self.minus(hidden)


def cancelling() -> tuple[Cancelling, Tensor]:
    torch.manual_seed(0)
    return Cancelling(), torch.randn(4, 8)


def test_what_only_rounding_keeps_apart_is_decided_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = cancelling()
    graph = nk.trace(model, inputs)
    plan = nk.plan(graph, target=nk.Ratio(0.5), score=nk.scores.Random())
    small = nk.cut(model, plan)
    found = nk.certify(model, plan, small, inputs)
    assert found.holds
    assert all("in float64; as it is:" in check.detail for check in found.checks)
    assert [check.tolerance for check in found.checks] == pytest.approx([1e-9, 1e-9])
    assert {p.dtype for m in (model, small) for p in m.parameters()} == {torch.float32}
    monkeypatch.setattr(room, "_again_in_float64", lambda checks, *rest: checks)
    assert not nk.certify(model, plan, small, inputs).holds


def test_what_is_wrong_is_not_made_right_by_float64() -> None:
    model, inputs = cancelling()
    plan = nk.plan(nk.trace(model, inputs), target=nk.Ratio(0.5))
    small = nk.cut(model, plan)
    handle = small.plus.register_forward_hook(lambda module, given, out: out + 1e-4)
    found = nk.certify(model, plan, small, inputs)
    handle.remove()
    assert not found.holds
    assert all("in float64" not in check.detail for check in found.checks)


def test_a_model_that_is_bound_to_float32_is_judged_as_it_is() -> None:
    model, inputs = cancelling()

    class Bound(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = model

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x.float())

    bound = Bound()
    plan = nk.plan(nk.trace(bound, inputs), target=nk.Ratio(0.5), score=nk.scores.Random())
    found = nk.certify(bound, plan, nk.cut(bound, plan), inputs)
    assert not found.holds
    assert {check.tolerance for check in found.checks} == {1e-5}
