"""Least squares for the layer behind, by hand and by its laws; and batch norms measured again."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import niwaki as nk
from niwaki.calibration.batches import read
from niwaki.calibration.statistics import reestimate
from niwaki.errors import BadInput
from tests.calibration.nets import activity, alive, deep, images, perceptron, rows


def kept_of(units: int, *numbers: int) -> Tensor:
    mask = torch.zeros(units, dtype=torch.bool)
    mask[list(numbers)] = True
    return mask


def two_layers(weight: list[list[float]], bias: list[float] | None) -> nn.Sequential:
    """A hidden layer that hands on positive inputs, and a second one."""
    out, units = len(weight), len(weight[0])
    model = nn.Sequential(nn.Linear(units, units, bias=False), nn.ReLU(), nn.Linear(units, out, bias=bias is not None))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(units))
        model[2].weight.copy_(torch.tensor(weight))
        if bias is not None:
            model[2].bias.copy_(torch.tensor(bias))
    return model


def test_least_squares_by_hand() -> None:
    """Samples h = (1, 2), (2, 1), W1 = (3, 4), no bias; unit 0 stays. ``sum h0 h0 = 5``, ``sum h1 h0 = 4``: the weight
    becomes 3 + 4 * 4 / 5 = 6.2. With a bias of 1: means 1.5, centred moments 0.5 and -0.5: the weight becomes
    3 - 4 = -1, and the bias 1 + 4 * 1.5 + 4 * 1.5 = 13 (outputs 12 and 11 of before: exact)."""
    x, kept = torch.tensor([[1.0, 2.0], [2.0, 1.0]]), kept_of(2, 0)
    plain = activity(two_layers([[3.0, 4.0]], None), x, "0", 1, moments=True).compensation(kept, 1e-12)
    assert list(plain) == ["2.weight"]
    assert plain["2.weight"][0, 0] == pytest.approx(6.2)
    biased = activity(two_layers([[3.0, 4.0]], [1.0]), x, "0", 1, moments=True).compensation(kept, 1e-12)
    assert biased["2.weight"][0, 0] == pytest.approx(-1)
    assert biased["2.bias"][0] == pytest.approx(13)


def test_the_ridge_draws_towards_the_weights_as_they_are() -> None:
    x, kept = torch.tensor([[1.0, 2.0], [2.0, 1.0]]), kept_of(2, 0)
    seen = activity(two_layers([[3.0, 4.0]], None), x, "0", 1, moments=True)
    found = [float(seen.compensation(kept, ridge)["2.weight"][0, 0]) for ridge in (1e-9, 1.0, 1e9)]
    assert found == pytest.approx([6.2, 3 + 16 / 10, 3.0], abs=1e-6)


class Strided(nn.Module):
    """A convolution with stride, padding and dilation behind the units."""

    def __init__(self, bias: bool, norm: bool, mode: str = "zeros") -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 1)
        self.second = nn.Conv2d(6, 5, 3, stride=2, padding=2, dilation=2, bias=bias, padding_mode=mode)
        self.norm = nn.BatchNorm2d(5) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.second(F.relu(self.first(x))))


class OneDimensional(nn.Module):
    """The same along a line."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(3, 6, 1), nn.Conv1d(6, 5, 4, stride=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x.flatten(2))))


CASES: dict[str, tuple[Any, str, Any]] = {
    "linear": (perceptron, "0", rows),
    "linear of signed units": (perceptron, "2", rows),
    "convolution and batch norm": (deep, "blocks.1.conv1", images),
    "strided": (lambda: alive(Strided(True, False)), "first", images),
    "without a bias": (lambda: alive(Strided(False, False)), "first", images),
    "reflecting": (lambda: alive(Strided(False, True, "reflect")), "first", images),
    "one dimension": (lambda: alive(OneDimensional()), "first", images),
}


def written(model: nn.Module, values: dict[str, Tensor]) -> nn.Module:
    found = copy.deepcopy(model)
    tensors = {**dict(found.named_parameters()), **dict(found.named_buffers())}
    with torch.no_grad():
        for name, value in values.items():
            tensors[name].copy_(value)
    return found


def second_outputs(model: nn.Module, masked: nn.Module, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """What the layer behind gives in the whole model, and in the masked one."""
    (member,) = [m for m in nk.trace(model, x[:1])[name].members if m.role == "takes"]
    path = member.name.removesuffix(".weight")
    path = {"blocks.1.conv2": "blocks.1.bn2"}.get(
        path, "norm" if isinstance(getattr(model, "norm", None), nn.BatchNorm2d) else path
    )
    return output_of(model, path, x), output_of(masked, path, x)


def output_of(model: nn.Module, path: str, x: Tensor) -> Tensor:
    found: list[Tensor] = []
    hook = model.get_submodule(path).register_forward_hook(lambda module, args, output: found.append(output))
    with torch.no_grad():
        model(x)
    hook.remove()
    return found[0]


def error(model: nn.Module, masked: nn.Module, name: str, x: Tensor) -> float:
    whole, part = second_outputs(model, masked, name, x)
    return float((whole - part).double().square().sum())


@pytest.mark.parametrize("case", CASES)
def test_the_squared_error_is_least_and_the_forecast_right(case: str) -> None:
    build, name, data = CASES[case]
    model, x = build(), data()
    graph = nk.trace(model, x[:1])
    kept = kept_of(len(graph[name]), 0, 2, 3)
    gone = tuple((~kept).nonzero().flatten().tolist())
    plan = nk.make_plan(graph, {name: gone})
    seen = activity(model, x, name, moments=True)
    values = seen.compensation(kept, 1e-9)
    before = error(model, nk.mask(model, plan), name, x)
    after = error(model, nk.mask(written(model, values), plan), name, x)
    assert seen.errors([kept.double()])[0] == pytest.approx(before, rel=1e-3)
    assert after < 0.98 * before
    for n, value in values.items():  # any small step away from it is worse
        for sign in (1, -1):
            step = (
                sign * 3e-2 * value.abs().mean() * torch.randn(value.shape, generator=torch.Generator().manual_seed(5))
            )
            worse = error(model, nk.mask(written(model, {**values, n: value + step}), plan), name, x)
            assert worse > after
    for ridge in (1e-3, 1.0, 100.0):
        softened = nk.mask(written(model, seen.compensation(kept, ridge)), plan)
        assert error(model, softened, name, x) <= before * (1 + 1e-5)


def test_units_that_are_combinations_of_others_are_made_up_for() -> None:
    """Unit 3 is twice unit 0 plus unit 1, unit 4 is constant: without them the output is what it was."""
    model = alive(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)))
    with torch.no_grad():
        model[0].weight.abs_()
        model[0].bias.abs_()
        model[0].weight[3], model[0].bias[3] = (
            2 * model[0].weight[0] + model[0].weight[1],
            2 * model[0].bias[0] + model[0].bias[1],
        )
        model[0].weight[4], model[0].bias[4] = 0, 1.5
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
    values = activity(model, x, "0", moments=True).compensation(kept_of(5, 0, 1, 2), 1e-10)
    plan = nk.make_plan(nk.trace(model, x), {"0": (3, 4)})
    small = nk.cut(written(model, values), plan)
    assert torch.allclose(small(x), model(x), atol=1e-4)
    assert not torch.allclose(nk.cut(model, plan)(x), model(x), atol=1e-1)


def test_a_layer_of_no_plain_weight_is_refused() -> None:
    model = alive(nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4)))
    nn.utils.parametrizations.weight_norm(model[2])
    with pytest.raises(BadInput, match="compensation of group '0' needs to write the weight of '2', which is computed"):
        activity(model, rows(), "0", moments=True).compensation(kept_of(12, 1), 1e-6)


def test_statistics_by_hand() -> None:
    """Batches (1, 3) and (5, 7, 12): means 2 and 8, unbiased variances 2 and 13, by number of samples: 5.6 and 8.6."""
    model = nn.BatchNorm1d(1)
    data = [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0], [12.0]])]
    assert reestimate(model, [read(x, x) for x in data]) == 1
    assert model.running_mean.item() == pytest.approx(5.6)
    assert model.running_var.item() == pytest.approx(8.6)
    assert model.momentum == 0.1
    assert model.training


@pytest.mark.parametrize("momentum", [0.1, None])
def test_measuring_counts_as_no_training(momentum: float | None) -> None:
    """Without momentum the next batch weighs one in so many as were seen."""
    x = torch.tensor([[1.0], [3.0]])
    model = nn.BatchNorm1d(1, momentum=momentum)
    model(x)
    reestimate(model, [read(x, x)] * 5)
    assert model.num_batches_tracked is not None
    assert int(model.num_batches_tracked) == 1


def test_a_model_without_batch_norms_is_not_run() -> None:
    assert reestimate(perceptron(), []) == 0
