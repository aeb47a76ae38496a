"""The demo's network and training loop."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from niwaki.demo import training
from niwaki.demo.dataset import Batches
from niwaki.demo.network import ResidualNet


def halves(count: int) -> tuple[Tensor, Tensor]:
    """An easy task: is the left (0) or the right (1) half of a noisy image brighter?"""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 120, (count, 1, 12, 12), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    images[labels == 0, :, :, :6] += 80
    images[labels == 1, :, :, 6:] += 80
    return images, labels


def batches(count: int = 64) -> Batches:
    return Batches(*halves(count), size=16, augmented=False)


def small_net() -> ResidualNet:
    torch.manual_seed(0)
    return ResidualNet((4, 8), blocks=1, classes=2)


def fresh_copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_network_has_the_shape_it_was_asked_for() -> None:
    net = ResidualNet((8, 16, 24), blocks=2, classes=7, in_channels=3).eval()
    assert net(torch.zeros(2, 3, 28, 28)).shape == (2, 7)
    assert net.stages(torch.zeros(1, 8, 28, 28)).shape == (1, 24, 7, 7)
    projections = [block.shortcut for stage in net.stages for block in stage]
    assert [isinstance(p, nn.Sequential) for p in projections] == [False, False, True, False, True, False]


def test_a_wide_stem_halves_the_image() -> None:
    net = ResidualNet((8, 16), stem_stride=2)
    assert net.stem(torch.zeros(1, 1, 28, 28)).shape == (1, 8, 14, 14)


@pytest.mark.parametrize(("widths", "blocks"), [((), 1), ((8,), 0)])
def test_network_refuses_nothing_to_build(widths: tuple[int, ...], blocks: int) -> None:
    with pytest.raises(ValueError, match="at least one width and one block"):
        ResidualNet(widths, blocks)


class Brighter(nn.Module):
    """Right by construction on `halves`; `wrong` of its answers are then turned round."""

    def __init__(self, wrong: int = 0) -> None:
        super().__init__()
        self.wrong, self.modes = wrong, []

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.training)
        logits = torch.stack([x[..., :6].mean((1, 2, 3)), x[..., 6:].mean((1, 2, 3))], dim=1)
        turned = min(self.wrong, len(x))
        self.wrong -= turned
        return torch.cat([logits[:turned].flip(1), logits[turned:]])


@pytest.mark.parametrize("wrong", [0, 1, 13, 50])
def test_accuracy_of_a_known_predictor(wrong: int) -> None:
    assert training.accuracy(Brighter(wrong), *halves(50), size=8) == (50 - wrong) / 50


def test_accuracy_is_taken_in_evaluation_mode_and_puts_each_mode_back() -> None:
    predictor, frozen = Brighter(), nn.Dropout().eval()
    model = nn.Sequential(frozen, predictor).train()
    frozen.eval()
    before = fresh_copy(model)
    training.accuracy(model, *halves(10))
    assert predictor.modes == [False]
    assert (model.training, predictor.training, frozen.training) == (True, True, False)
    assert fresh_copy(model).keys() == before.keys()


def test_accuracy_restores_the_mode_after_an_error() -> None:
    model = small_net().train()
    with pytest.raises(RuntimeError, match="expected input"):
        training.accuracy(model, torch.zeros(4, 2, 8, 8, dtype=torch.uint8), torch.zeros(4).long())
    assert all(module.training for module in model.modules())


def test_accuracy_leaves_the_running_statistics_alone() -> None:
    model = small_net()
    before = fresh_copy(model)
    training.accuracy(model, *halves(20))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_training_learns() -> None:
    model, losses = small_net(), []
    training.train(model, batches(), 6, 0.05, on_batch=losses.append)
    assert len(losses) == 6 * 4
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])
    assert training.accuracy(model, *halves(64)) > 0.9
    assert model.training


def test_training_is_repeatable() -> None:
    models = [small_net(), small_net()]
    for model in models:
        training.train(model, batches(), 1, 0.05)
    one, two = (model.state_dict() for model in models)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_trained_weights_have_plain_strides() -> None:
    model = small_net()
    training.train(model, batches(), 1, 0.05)
    assert all(parameter.is_contiguous() for parameter in model.parameters())


def test_a_step_takes_the_place_of_the_optimizers() -> None:
    model, seen = small_net(), []
    before = fresh_copy(model)

    def step() -> None:
        seen.append(model.head.weight.grad.norm().item())

    training.train(model, batches(), 2, 0.05, step=step)
    assert len(seen) == 8
    assert min(seen) > 0
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_a_given_optimizer_is_used_and_scheduled() -> None:
    model, rates = small_net(), []
    optimizer = training.sgd(model, lr=123.0)
    training.train(
        model, batches(), 5, 0.1, optimizer=optimizer,
        step=lambda: rates.append(optimizer.param_groups[0]["lr"]),
    )  # fmt: skip
    assert rates == [0.1 * training.warm_cosine((i + 1) / 20) for i in range(20)]
    assert max(rates) == pytest.approx(0.1)
    assert rates.index(max(rates)) == 2  # the third of twenty: 15 %
    assert rates[-1] == pytest.approx(0)


def test_the_last_epochs_can_go_without_augmentation() -> None:
    drawn = Batches(*halves(32), size=16)
    seen = []
    training.train(small_net(), drawn, 3, 0.01, clean=2, on_batch=lambda _: seen.append(drawn.augmented))
    assert seen == [True, True, False, False, False, False]
    assert drawn.augmented  # as it was given
    assert drawn.epoch == 3


def test_a_constant_schedule_is_constant() -> None:
    model, rates = small_net(), []
    optimizer = training.sgd(model, lr=1.0)

    def step() -> None:
        rates.append(optimizer.param_groups[0]["lr"])

    training.train(model, batches(), 1, 0.01, optimizer=optimizer, step=step, schedule=training.constant)
    assert rates == [0.01] * 4


def test_the_schedule_is_continuous_where_the_warm_up_ends() -> None:
    before = training.warm_cosine(training.WARM_UP - 1e-9)
    after = training.warm_cosine(training.WARM_UP + 1e-9)
    assert before == pytest.approx(after) == pytest.approx(1)
    assert all(0 <= training.warm_cosine(i / 100) <= 1 for i in range(101))


def test_a_loss_that_explodes_stops_the_training() -> None:
    model = small_net()
    with torch.no_grad():
        model.head.weight.fill_(math.inf)
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        training.train(model, batches(), 1, 0.1)


@pytest.mark.parametrize("bf16", [False, True])
def test_precision_changes_the_rounding_only(bf16: bool) -> None:
    exact, other = small_net(), small_net()
    training.train(exact, batches(16), 1, 0.01, bf16=False)
    training.train(other, batches(16), 1, 0.01, bf16=bf16)
    assert all(parameter.dtype == torch.float32 for parameter in other.parameters())
    for one, two in zip(exact.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0.05, atol=0.02)
        assert bf16 or torch.equal(one, two)


def test_bf16_is_off_where_torch_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert training.bf16_pays() is False


def test_bf16_is_on_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert training.bf16_pays() is True


def test_training_does_not_need_the_network_to_be_the_demos() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 2))
    before = copy.deepcopy(model)
    training.train(model, batches(), 1, 0.01)
    assert not torch.equal(model[1].weight, before[1].weight)
