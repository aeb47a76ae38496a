"""The networks: sizes, names, shapes, and that they can be pruned."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.vision import mobilenet_v2, resnet_cifar, resnet_imagenet, vgg_cifar


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("depth", "count"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)]
)
def test_a_cifar_resnet_has_the_published_size(depth: int, count: int) -> None:
    assert parameters(resnet_cifar.resnet(depth)) == count


def test_a_cifar_resnet_has_as_many_layers_as_its_name_says() -> None:
    model = resnet_cifar.resnet(56)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == 56


def test_a_cifar_resnet_has_the_names_of_its_checkpoints() -> None:
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"conv1.weight", "linear.weight", "linear.bias", *(f"bn1.{part}" for part in parts)}
    for block in (f"layer{stage}.{number}" for stage in (1, 2, 3) for number in range(3)):
        for number in (1, 2):
            expected |= {f"{block}.conv{number}.weight", *(f"{block}.bn{number}.{part}" for part in parts)}
    assert set(resnet_cifar.resnet(20).state_dict()) == expected


@pytest.mark.parametrize("depth", [2, 0, -4, 18, 52, 21])
def test_other_depths_are_refused(depth: int) -> None:
    with pytest.raises(BadInput, match=f"not {depth}; take 20, 32"):
        resnet_cifar.resnet(depth)


@pytest.mark.parametrize(
    "build", [lambda: resnet_cifar.resnet(8, 0), lambda: vgg_cifar.vgg19(0), lambda: mobilenet_v2.mobilenet_v2(0)]
)
def test_a_classifier_without_classes_is_refused(build: Callable[[], nn.Module]) -> None:
    with pytest.raises(BadInput, match="at least one class, not 0"):
        build()


def test_the_shortcut_by_hand() -> None:
    """Two channels of 3 x 3 become four of 2 x 2: each second pixel, one channel of zeros on either side."""
    x = torch.tensor([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]], [[10, 20, 30], [40, 50, 60], [70, 80, 90]]]])
    zeros = [[0, 0], [0, 0]]
    assert resnet_cifar.subsample(x, 1).tolist() == [[zeros, [[1, 3], [7, 9]], [[10, 30], [70, 90]], zeros]]


def test_a_block_that_convolves_nothing_is_its_shortcut() -> None:
    block = resnet_cifar.Block(2, 4).eval()
    for bn in (block.bn1, block.bn2):
        nn.init.zeros_(bn.weight)
    x = torch.rand(1, 2, 4, 4)
    assert torch.equal(block(x)[:, 1:3], x[:, :, ::2, ::2])
    assert not block(x)[:, [0, 3]].any()


def test_weights_are_drawn_as_kaiming_he_proposes() -> None:
    torch.manual_seed(0)
    conv = resnet_cifar.resnet(20).layer3[1].conv1
    assert float(conv.weight.detach().std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


def test_vgg_has_the_size_worked_out_by_hand() -> None:
    widths = [3, 64, 64, 128, 128, *[256] * 4, *[512] * 8]
    convolutions = sum(9 * a * b for a, b in pairwise(widths))
    norms = 2 * sum(widths[1:])
    assert (convolutions, norms, 513 * 100) == (20_018_880, 11_008, 51_300)
    assert parameters(vgg_cifar.vgg19(100)) == 20_018_880 + 11_008 + 51_300 == 20_081_188


def test_vgg_has_sixteen_convolutions_without_bias_and_four_poolings() -> None:
    model = vgg_cifar.vgg19()
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 16
    assert all(m.bias is None for m in convolutions)
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) == 4


@pytest.mark.parametrize(
    ("build", "count", "entries", "names"),
    [
        (resnet_imagenet.resnet34, 21_797_672, 36 * 6 + 2, {"layer4.2.conv2.weight", "layer2.0.downsample.0.weight"}),
        (resnet_imagenet.resnet50, 25_557_032, 53 * 6 + 2, {"layer1.0.downsample.1.bias", "layer3.5.bn3.weight"}),
    ],
)
def test_an_imagenet_resnet_has_the_published_size_and_names(
    build: Callable[[], nn.Module], count: int, entries: int, names: set[str]
) -> None:
    model = build()
    assert parameters(model) == count
    assert len(model.state_dict()) == entries
    assert names | {"conv1.weight", "bn1.running_var", "fc.weight", "fc.bias"} <= set(model.state_dict())


def test_a_bottleneck_halves_the_image_in_its_3x3_convolution() -> None:
    block = resnet_imagenet.resnet50().layer2[0]
    assert [c.stride for c in (block.conv1, block.conv2, block.conv3)] == [(1, 1), (2, 2), (1, 1)]


@pytest.mark.parametrize(
    ("build", "side", "inner", "shape"),
    [
        (lambda: resnet_cifar.resnet(8, 7), 32, "layer3", (64, 8, 8)),
        (lambda: vgg_cifar.vgg19(7), 32, "features", (512, 2, 2)),
        (lambda: resnet_imagenet.resnet34(7), 64, "layer4", (512, 2, 2)),
        (lambda: resnet_imagenet.resnet50(7), 96, "layer4", (2048, 3, 3)),
        (lambda: mobilenet_v2.mobilenet_v2(7), 64, "features", (1280, 2, 2)),
    ],
)
def test_shapes_on_the_way_and_at_the_end(
    build: Callable[[], nn.Module], side: int, inner: str, shape: tuple[int, ...]
) -> None:
    model, seen = build().eval(), []
    getattr(model, inner).register_forward_hook(lambda _, __, result: seen.append(tuple(result.shape)))
    assert model(torch.zeros(2, 3, side, side)).shape == (2, 7)
    assert seen == [(2, *shape)]


def test_the_inner_channels_of_every_block_can_be_halved() -> None:
    torch.manual_seed(0)
    model, inputs = resnet_cifar.resnet(20), torch.randn(2, 3, 32, 32)
    graph = nk.trace(model, torch.zeros(1, 3, 32, 32))
    inner = {f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in range(3)}
    assert inner <= {group.name for group in graph.groups}
    plan = nk.plan(graph, target=nk.Ratio(0.5, only="layer*.conv1"))
    small = nk.cut(model, plan)
    assert [small.layer3[n].conv1.out_channels for n in range(3)] == [32, 32, 32]
    assert small.layer3[0].conv2.out_channels == 64
    assert nk.certify(model, plan, small, inputs, graph=graph).holds


def test_mobilenet_v2_has_the_published_size_and_names() -> None:
    model = mobilenet_v2.mobilenet_v2()
    assert parameters(model) == 3_504_872
    assert len(model.state_dict()) == 52 * 6 + 2
    names = {"features.0.0.weight", "features.1.conv.1.weight", "features.17.conv.3.running_var", "classifier.1.bias"}
    assert names <= set(model.state_dict())
    assert "features.1.conv.3.weight" not in model.state_dict()  # the first block widens nothing


def test_an_inverted_residual_has_a_shortcut_where_shapes_agree() -> None:
    blocks = list(mobilenet_v2.mobilenet_v2().features)[1:18]
    assert [k for k, block in enumerate(blocks, 1) if block.shortcut] == [3, 5, 6, 8, 9, 10, 12, 13, 15, 16]
    block = blocks[2].eval()
    nn.init.zeros_(block.conv[3].weight)
    x = torch.rand(1, 24, 5, 5)
    assert torch.equal(block(x), x)
