"""Head masking: the gradient of the loss with respect to a mask of ones, against differences and by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import niwaki as nk
from niwaki.calibration import Calibration, Source
from niwaki.errors import BadInput
from niwaki.surgery.cut import plan_of
from niwaki.testing.families import family
from tests.calibration.nets import perceptron, rows


def sensitivity(model: nn.Module, inputs: Any, data: list[Any], loss: Any, each: bool = False) -> dict[str, Tensor]:
    found = Calibration(model, nk.trace(model, inputs), Source(data, inputs))
    return found.sensitivity(found.blocks(found.graph.groups), loss, each=each)


def to_zero(model: nn.Module, batch: Any) -> Tensor:
    return model(batch).square().sum()


def test_by_hand() -> None:
    """Hidden h = (2, 1) and (0, 3), W1 = (1, -1), loss ``(h0 - h1)²``: with masks m the loss is ``(m0 h0 - m1 h1)²``,
    whose gradient at ones is ``2 (h0 - h1) (h0, -h1)``: (4, -2) and (0, 18). Summed, then absolute: (4, 16); absolute
    values summed: (4, 20)."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[2].weight.copy_(torch.tensor([[1.0, -1.0]]))
    data = [torch.tensor([[2.0, 1.0]]), torch.tensor([[0.0, 3.0]])]
    assert sensitivity(model, data[0], data, to_zero)["0"].tolist() == [4, 16]
    assert sensitivity(model, data[0], data, to_zero, each=True)["0"].tolist() == [4, 20]


def test_a_smaller_batch_counts_for_as_many_samples_as_it_has() -> None:
    """Of a loss that is a mean, any batches give what one gives; absolute values batch by batch are others."""
    model, x = perceptron(), rows(48)

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return model(batch).square().mean()

    whole = sensitivity(model, x[:1], [x], loss)
    parts = sensitivity(model, x[:1], [x[:20], x[20:40], x[40:]], loss)
    for name, values in whole.items():
        torch.testing.assert_close(parts[name], values, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_heads_is_that_of_differences() -> None:
    model = family("bert").build().eval().double()
    inputs = family("bert").inputs()

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(**batch).logits, torch.zeros(len(batch["input_ids"]), dtype=torch.int64))

    found = sensitivity(model, inputs, [inputs], loss)
    name = next(n for n in found if "layer.0.attention" in n)
    layer = model.bert.encoder.layer[0].attention.output.dense
    width = layer.in_features // 4
    for head in range(4):
        values = []
        for sign in (1, -1):
            mask = torch.ones(layer.in_features, dtype=torch.float64)
            mask[head * width : (head + 1) * width] += sign * 1e-4
            hook = layer.register_forward_pre_hook(lambda m, args, mask=mask: (args[0] * mask,))
            with torch.no_grad():
                values.append(len(inputs["input_ids"]) * float(loss(model, inputs)))
            hook.remove()
        assert float(found[name][head]) == pytest.approx(abs(values[0] - values[1]) / 2e-4, rel=1e-3)


def test_the_least_go_over_all_layers_together() -> None:
    """Layer 0 of the network matters a thousand times as much as layer 2's: all that goes comes from there."""
    model, x = perceptron(), rows()
    with torch.no_grad():
        model[4].weight[:, :9].mul_(1e-4)
    small = nk.prune(model, x[:1], nk.methods.michel(nk.Ratio(0.4)), data=[x], loss=to_zero)
    lost = {name: len(c.removed) for name, c in plan_of(small).choices.items()}
    assert lost["2"] > lost["0"]
    assert sum(lost.values()) == 8
    even = nk.prune(model, x[:1], nk.methods.michel(nk.Ratio(0.4), normalised=True), data=[x], loss=to_zero)
    assert plan_of(even) != plan_of(small)
    pattern = nk.prune(model, x[:1], nk.methods.michel(nk.Ratio({"0": 0.5})), data=[x], loss=to_zero)
    assert [pattern[0].out_features, pattern[2].out_features] == [6, 10]


def test_heads_are_pruned_where_they_are_named() -> None:
    model, inputs = family("bert").build().eval(), family("bert").inputs()
    names = [g.name for g in nk.trace(model, inputs).groups if g.kind == "head"]

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return model(**batch).logits.logsumexp(1).sum()

    small = nk.prune(model, inputs, nk.methods.michel(nk.Ratio(0.5, only=names)), data=[inputs], loss=loss)
    assert nk.certify(model, plan_of(small), small, inputs).holds
    assert sum(len(c.removed) for c in plan_of(small).choices.values()) == 4


@pytest.mark.parametrize("target", [nk.Ratio(0.0), nk.Ratio({"0": 0.0, "2": 0.0})], ids=["all", "by pattern"])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_target_that_takes_nothing_leaves_the_model_whole(target: nk.Ratio, frozen: bool) -> None:
    model, x = perceptron().requires_grad_(not frozen), rows()
    for normalised in (False, True):
        small = nk.prune(model, x[:1], nk.methods.michel(target, normalised=normalised), data=[x], loss=to_zero)
        assert all(torch.equal(a, b) for a, b in zip(small.parameters(), model.parameters(), strict=True))


def test_a_bare_number_is_no_target() -> None:
    with pytest.raises(BadInput, match=r"a target is nk\.Ratio, nk\.Macs or nk\.Params of a share, not 0\.5"):
        nk.methods.michel(0.5)


def test_a_loss_that_is_none_is_refused() -> None:
    model, x = perceptron(), rows()
    for wrong in (lambda model, batch: model(batch), lambda model, batch: 1.0):
        with pytest.raises(BadInput, match="loss must return one number as a tensor with a gradient"):
            nk.prune(model, x[:1], nk.methods.michel(nk.Ratio(0.5)), data=[x], loss=wrong)
