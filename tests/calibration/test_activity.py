"""What units do: mass and importance by hand, in batches of any size, and with batch norms of either kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import niwaki as nk
from niwaki.calibration.takers import takers_of
from niwaki.errors import BadInput
from niwaki.units import Axis, Entries, Group, Member
from tests.calibration.nets import Deep, activity, alive, block, calibration, deep, images, perceptron, rows


def kept_of(units: int, *numbers: int) -> Tensor:
    mask = torch.zeros(units, dtype=torch.bool)
    mask[list(numbers)] = True
    return mask


def test_importance_of_a_linear_layer_by_hand() -> None:
    """H = [[1, 2], [3, 0]] (a row per sample), W1 = [[1, 1], [0, 2]], no bias; mu(H) = (4, 2).

    Of nothing kept: U = W1 mu(H) = (6, 4), importance W1' U = (6, 14). With unit 0 kept, what is missing is
    W1 (0, 2) = (2, 4), importance W1' (2, 4) = (2, 10).
    """
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[2].weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 2.0]]))
    found = activity(model, torch.tensor([[1.0, 2.0], [3.0, 0.0]]), "0", 1)
    assert found.mass().tolist() == [4, 2]
    assert found.importance(kept_of(2)).tolist() == [6, 14]
    assert found.importance(kept_of(2, 0)).tolist() == [2, 10]
    assert found.importance(kept_of(2, 0, 1)).tolist() == [0, 0]


def test_the_bias_counts_where_nothing_is_kept() -> None:
    """As above with bias (1, 0): over two samples U sums up to (8, 4), importance W1' U = (8, 16)."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[2].weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 2.0]]))
        model[2].bias.copy_(torch.tensor([1.0, 0.0]))
    found = activity(model, torch.tensor([[1.0, 2.0], [3.0, 0.0]]), "0", 1)
    assert found.importance(kept_of(2)).tolist() == [8, 16]
    assert found.importance(kept_of(2, 0)).tolist() == [2, 10]


@pytest.mark.parametrize("statistics", ["stored", "batch"])
def test_importance_is_the_gradient_of_the_paper(statistics: str) -> None:
    """Sum over the batches of the gradient of half the squared difference, by autograd on the whole second part."""
    model, x = deep(), images()
    found = calibration(model, x, 8)
    seen = found.activity(block(found, "blocks.1.conv1"))
    second = model.blocks[1]
    for kept in (kept_of(8), kept_of(8, 1, 4, 5)):
        expected = torch.zeros(8)
        for batch in x.split(8):
            with torch.no_grad():
                front = model.blocks[0](F.relu(model.stem(batch)))
                hidden = F.relu(second.bn1(second.conv1(front)))
            at = hidden.clone().requires_grad_()
            dense = second.bn2(second.conv2(at))
            with torch.no_grad():
                output = second.conv2(hidden * kept[:, None, None])
                norm = second.bn2
                pruned = (
                    F.batch_norm(output, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)
                    if statistics == "batch"
                    else norm(output)
                )
            pruned = pruned if kept.any() else torch.zeros_like(pruned)
            (0.5 * (dense - pruned).square()).sum().backward()
            expected += at.grad.sum((0, 2, 3))
        given = seen.importance(kept, batch_statistics=statistics == "batch")
        assert torch.allclose(given.float(), expected, rtol=1e-4, atol=1e-3)


def test_the_two_kinds_of_statistics_differ() -> None:
    seen = activity(deep(), images(), "blocks.1.conv1")
    kept = kept_of(8, 1, 4, 5)
    assert not torch.allclose(seen.importance(kept), seen.importance(kept, batch_statistics=True), rtol=1e-2)


@pytest.mark.parametrize("size", [1, 5, 24])
def test_batches_of_any_size_give_the_same(size: int) -> None:
    one, other = (activity(deep(), images(), "blocks.1.conv1", n, moments=True) for n in (8, size))
    kept = kept_of(8, 0, 3)
    assert torch.allclose(one.mass(), other.mass(), rtol=1e-5)
    assert torch.allclose(one.mass(absolute=False), other.mass(absolute=False), rtol=1e-5)
    assert torch.allclose(one.importance(kept), other.importance(kept), rtol=1e-4)
    assert torch.allclose(one.products(), other.products(), rtol=1e-5)
    values = [a.compensation(kept, 1e-6) for a in (one, other)]
    assert values[0].keys() == values[1].keys()
    assert all(torch.allclose(values[0][n], values[1][n], rtol=1e-4, atol=1e-6) for n in values[0])


def test_signs_cancel_in_the_signed_mass_alone() -> None:
    seen = activity(perceptron(), rows(), "2")
    assert (seen.mass(absolute=False).abs() < seen.mass() - 1e-9).any()
    relu = activity(perceptron(), rows(), "0")
    assert torch.allclose(relu.mass(), relu.mass(absolute=False))


def test_products_and_errors_are_those_of_the_outputs() -> None:
    """<z_i, z_j> of what single units add; and the squared difference when units count 0, 1 or twice."""
    model, x = deep(), images()
    seen = activity(model, x, "blocks.0.conv1", moments=True)
    second = model.blocks[0]
    with torch.no_grad():
        hidden = F.relu(second.bn1(second.conv1(F.relu(model.stem(x)))))
        none = second.bn2(second.conv2(hidden * 0))
        each = [second.bn2(second.conv2(hidden * kept_of(8, u)[:, None, None])) - none for u in range(8)]
        z = torch.stack([e.flatten() for e in each])
    assert torch.allclose(seen.products().float(), z @ z.t(), rtol=1e-3, atol=1e-2)
    weights = torch.tensor([0.0, 1, 2, 0, 1, 1, 1, 0])
    (error,) = seen.errors([weights])
    assert error == pytest.approx(float(((1 - weights)[:, None] * z).sum(0).square().sum()), rel=1e-4)


def test_several_layers_that_take_the_units_add_up() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.left, self.right = (
                nn.Linear(3, 6),
                nn.Linear(6, 2, bias=False),
                nn.Linear(6, 4, bias=False),
            )

        def forward(self, x: Tensor) -> Tensor:
            hidden = F.relu(self.first(x))
            return torch.cat([self.left(hidden), self.right(hidden)], 1)

    model = alive(Fork())
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(2))
    seen = activity(model, x, "first", 4)
    hidden = F.relu(model.first(x)).detach().double().sum(0)
    weights = [layer.weight.detach().double() for layer in (model.left, model.right)]
    expected = sum(w.t() @ w @ (hidden * ~kept_of(6, 2)) for w in weights)
    assert torch.allclose(seen.importance(kept_of(6, 2)), expected, rtol=1e-5)
    assert torch.allclose(seen.mass(), 2 * hidden, rtol=1e-5)


class Supervised(nn.Module):
    """A second head on the hidden layer: in training alone, or ``also`` in eval mode without a call of its own."""

    def __init__(self, also: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.aux, self.also = nn.Linear(6, 8), nn.Linear(8, 2), nn.Linear(8, 3), also

    def forward(self, x: Tensor) -> object:
        f = self.a(x).relu()
        if self.also:
            return self.b(f), F.linear(f, self.aux.weight)
        return (self.b(f), self.aux(f)) if self.training else self.b(f)


def test_a_head_of_training_has_no_say_and_follows_the_cut() -> None:
    torch.manual_seed(0)
    model = Supervised()
    found = calibration(model, rows())
    (one,) = found.blocks(found.graph.groups)
    assert [t.path for t in one.takers] == ["b"]
    hidden = F.relu(model.a(rows())).detach().double().sum(0)
    assert torch.allclose(found.activity(one).mass(), hidden, rtol=1e-5)
    small = nk.prune(model, rows(1), nk.methods.ispasp(nk.Ratio(0.5, only="a")), data=[rows()]).train()
    assert (small.b.in_features, small.aux.in_features) == (4, 4)
    assert [y.shape for y in small(rows(3))] == [(3, 2), (3, 3)]


def test_a_weight_that_is_used_without_a_call_of_its_layer_is_told() -> None:
    found = calibration(Supervised(also=True), rows())
    with pytest.raises(BadInput, match="'a' is taken by 'aux', which is not called as a module of its own"):
        found.blocks(found.graph.groups)


def test_a_layer_that_the_data_do_not_reach_is_told() -> None:
    class Short(Supervised):
        def forward(self, x: Tensor) -> object:
            f = self.a(x).relu()
            return self.b(f) if len(x) == 1 else f.sum(1)

    found = calibration(Short(), rows())
    with pytest.raises(BadInput, match="'a' is taken by 'b', which the model does not call in eval mode on the first"):
        found.blocks(found.graph.groups)


def test_batches_that_take_another_way_are_refused() -> None:
    class Fickle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            hidden = F.relu(self.first(x))
            return self.second(hidden) if len(x) > 2 else F.linear(hidden, self.second.weight)

    model = alive(Fickle())
    found = calibration(model, torch.randn(8, 4), 6)
    with pytest.raises(BadInput, match="on batch 1 the model called the layers that are looked at 0 times, and 1"):
        found.activity(block(found, "first"))


def test_a_batch_norm_that_is_not_alone_behind_is_left_out() -> None:
    class Two(nn.Module):
        def __init__(self, skip: bool) -> None:
            super().__init__()
            self.first, self.second, self.norm = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4)
            self.skip = skip

        def forward(self, x: Tensor) -> Tensor:
            y = self.second(F.relu(self.first(x)))
            return F.relu(self.norm(y) + (y if self.skip else 0)).mean((2, 3))

    for skip in (False, True):
        found = calibration(alive(Two(skip)), images(), 8)
        (second,) = block(found, "first").seconds
        assert (second.norm is None) == skip


def test_what_runs_through_several_blocks_is_left_alone_and_told() -> None:
    found = calibration(alive(Deep()), images())
    assert [b.group.name for b in found.blocks(found.graph.groups)] == [f"blocks.{k}.conv1" for k in range(3)]
    assert list(found.left_out) == ["stem"]
    assert "joins what several blocks make (a residual stream); name it in `only`" in found.left_out["stem"]
    assert [b.group.name for b in found.blocks(found.graph.groups, ["stem"])][:2] == ["stem", "blocks.0.conv1"]


def test_a_grouped_convolution_takes_a_unit_in_each_of_its_groups() -> None:
    """Three units over two groups of three channels: unit u is at channels u and 3 + u."""
    axis, units = Axis("conv.weight", 1), np.arange(3)
    group = Group("g", "channel", 3, (Member(*axis, "takes"),), {axis: Entries(units, units)})
    (taker,) = takers_of(group, {"conv": nn.Conv2d(6, 4, 1, groups=2)}, {})
    assert taker.unit_of.tolist() == [0, 1, 2, 0, 1, 2]
