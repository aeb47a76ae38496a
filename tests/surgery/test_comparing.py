"""One comparison: what must be equal, what may differ, and what proves nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.surgery.comparing import Check, answers, compare

INF, NAN = float("inf"), float("nan")


def compared(reference: list[Tensor], found: list[Tensor], kind: str = "forward") -> Check:
    return compare("cut", "masked", kind, reference, found, 1e-5)


@pytest.mark.parametrize(
    ("left", "right", "worst"),
    [
        ([2.0, -4.0], [2.0, -3.0], 0.25),
        ([0.0], [0.5], 0.5),
        ([INF, 1.0, -INF], [INF, 1.0, -INF], 0.0),
        ([INF, 2.0], [INF, 1.0], 0.5),
    ],
)
def test_differences_are_relative_to_the_largest_value(left: list[float], right: list[float], worst: float) -> None:
    assert compared([torch.tensor(left)], [torch.tensor(right)]).worst == worst


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        ([torch.ones(2)], [torch.ones(3)], "outputs of other shapes: (2,) and (3,)"),
        ([torch.ones(2)], [], "outputs of other shapes: 1 tensors and 0"),
        ([], [], "not comparable: there is no tensor with values"),
        ([torch.ones(0)], [torch.ones(0)], "not comparable: there is no tensor with values"),
        ([torch.tensor([INF])], [torch.tensor([-INF])], "values that are not finite"),
        ([torch.tensor([1.0])], [torch.tensor([INF])], "values that are not finite"),
        ([torch.tensor([NAN])], [torch.tensor([NAN])], "values that are not finite"),
    ],
)
def test_what_proves_nothing_does_not_hold(left: list[Tensor], right: list[Tensor], said: str) -> None:
    found = compared(left, right)
    assert (found.worst, found.holds, found.detail) == (None, False, said)


def test_whole_numbers_must_be_equal() -> None:
    """However large they are."""
    many = torch.tensor([10**9, 7])
    assert compared([many], [many.clone()]).worst == 0
    assert not compared([many], [many + torch.tensor([0, 1])]).holds
    assert not compared([torch.tensor([True, False])], [torch.tensor([True, True])]).holds


def test_complex_numbers_are_compared_in_both_parts() -> None:
    a = torch.tensor([3 + 4j])
    assert compared([a], [a.clone()]).worst == 0
    assert compared([a], [a + 2j]).worst == 0.5


class Names(nn.Module):
    """Answers with the number of a class."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x))).argmax(-1)


def test_a_model_of_whole_numbers_is_certified_by_them() -> None:
    torch.manual_seed(0)
    model, x = Names().eval(), torch.randn(40, 4)
    plan = nk.plan(nk.trace(model, x))
    small = nk.cut(model, plan)
    assert nk.certify(model, plan, small, x, reloaded=small, exported=small).holds
    torch.manual_seed(1)
    for other in (nk.cut(Names().eval(), plan), lambda x: torch.zeros(40, dtype=torch.long), lambda x: None):
        found = nk.certify(model, plan, small, x, exported=other)
        assert not next(check for check in found.checks if check.name == "exported").holds


def test_a_tensor_that_is_given_twice_stays_one() -> None:
    x = torch.ones(2, requires_grad=True)
    seen: list[torch.Tensor] = []
    assert answers(lambda *given, last: seen.extend([*given, last]), (x, x), {"last": x}) == []
    assert seen[0] is seen[1] is seen[2] is not x
    assert seen[0].requires_grad
