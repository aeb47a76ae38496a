"""Multiply-adds, parameters and bytes: by hand, and as torch itself counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import niwaki as nk
from niwaki.measure.size import batch_size
from niwaki.testing.zoo import Specimen, zoo
from tests.graph.nets import Net


def attention(n: Any, x: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(n.q(x), n.k(x), n.v(x))


MACS: dict[str, tuple[nn.Module, tuple[int, ...], int]] = {
    # rows × in × out
    "linear": (nn.Linear(4, 6), (2, 5, 4), 2 * 5 * 4 * 6),
    # batch × 6×6 places × 3×3 taps × in × out
    "convolution": (nn.Conv2d(3, 8, 3), (2, 3, 8, 8), 2 * 36 * 9 * 3 * 8),
    "strided convolution": (nn.Conv2d(3, 8, 3, stride=2), (2, 3, 8, 8), 2 * 9 * 9 * 3 * 8),
    # each of 8 filters sees 6 / 2 channels
    "grouped convolution": (nn.Conv2d(6, 8, 1, groups=2), (1, 6, 4, 4), 16 * 3 * 8),
    "depthwise convolution": (nn.Conv2d(6, 6, 3, groups=6), (1, 6, 5, 5), 9 * 9 * 6),
    # every input place meets every tap
    "transposed convolution": (nn.ConvTranspose2d(3, 5, 2, stride=2), (1, 3, 4, 4), 16 * 4 * 3 * 5),
    "one-dimensional convolution": (nn.Conv1d(3, 4, 2), (1, 3, 6), 5 * 2 * 3 * 4),
    # three projections 2·5·4·6, then scores and values: 2·5·5·6 each
    "attention": (
        Net(attention, q=nn.Linear(4, 6), k=nn.Linear(4, 6), v=nn.Linear(4, 6)),
        (2, 5, 4),
        3 * 240 + 2 * 300,
    ),
    "norm and activation": (nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU()), (2, 4), 2 * 4 * 6),
}


@pytest.mark.parametrize("name", MACS)
def test_multiply_adds_by_hand(name: str) -> None:
    model, shape, expected = MACS[name]
    assert nk.measure.macs(model, torch.ones(shape)) == expected


@pytest.mark.parametrize("plant", zoo("cnn"), ids=lambda plant: plant.name)
def test_multiply_adds_as_torch_counts_them(plant: Specimen) -> None:
    model, inputs = plant.build(), plant.inputs()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    assert nk.measure.macs(model, inputs) == counter.get_total_flops() // 2


def tied() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4, bias=False))
    net[2].weight = net[0].weight
    net.register_buffer("scratch", torch.zeros(10), persistent=False)
    return net


def test_parameters_count_shared_ones_once() -> None:
    """16 shared weights and 4 biases, 4 + 4 of the norm."""
    assert nk.measure.params(tied()) == 28


def test_bytes_by_hand() -> None:
    """On file 28 parameters, 4 + 4 statistics and a counter of 8 bytes; in memory 10 floats of scratch more."""
    assert nk.measure.file_bytes(tied()) == 36 * 4 + 8
    assert nk.measure.memory(tied()) == 46 * 4 + 8
    assert nk.measure.file_bytes(nn.Linear(4, 6).half()) == 30 * 2


def test_counts_shrink_with_the_model() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    small = nk.cut(net, nk.plan(nk.trace(net, torch.ones(1, 4)), target=nk.Ratio(0.5)))
    assert nk.measure.params(small) == 4 * 3 + 3 + 3 * 3 + 3
    assert nk.measure.macs(small, torch.ones(1, 4)) == 12 + 9
    assert nk.measure.file_bytes(small) == 27 * 4


@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        (torch.zeros(3, 5), 3),
        ({"positions": torch.zeros(7), "ids": torch.zeros(2, 7), "mask": torch.zeros(2, 7)}, 2),
        ((torch.zeros(4, 10, 8), torch.zeros(2, 4, 16), torch.zeros(2, 4, 16)), 4),  # states of a recurrent layer
        ((torch.zeros(6), torch.zeros(3)), 6),
        ((torch.tensor(1.0), "word"), 1),
    ],
)
def test_the_batch_is_dimension_0_of_the_first_that_has_several(inputs: Any, size: int) -> None:
    assert batch_size(inputs) == size


class Counts(nn.Module):
    """Keeps a table of its own kind beside its tensors, which a file of tensors does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.register_buffer("fleeting", torch.ones(50), persistent=False)

    def get_extra_state(self) -> torch.Tensor:
        return torch.zeros(1000)

    def set_extra_state(self, state: Any) -> None: ...


def test_the_file_holds_parameters_and_saved_buffers_alone() -> None:
    assert nk.measure.file_bytes(Counts()) == 4 * (4 * 2 + 2)
