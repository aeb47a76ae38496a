"""The layer behind the units: scaling what it takes is scaling what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from niwaki.calibration.second import LARGEST, Second
from niwaki.calibration.takers import Taker

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 5), (4, 6)),
    "Conv1D": (lambda: Conv1D(5, 6), (4, 6)),
    "convolution": (lambda: nn.Conv2d(6, 4, 3), (2, 6, 5, 5)),
    "grouped": (lambda: nn.Conv2d(6, 9, 3, groups=3), (2, 6, 5, 5)),
    "depthwise": (lambda: nn.Conv1d(6, 12, 3, groups=6), (2, 6, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(6, 4, 3), (2, 6, 5, 5)),
    "transposed, grouped": (lambda: nn.ConvTranspose1d(6, 4, 3, groups=2), (2, 6, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_weight_times_numbers_is_the_input_times_them(name: str) -> None:
    torch.manual_seed(0)
    build, shape = LAYERS[name]
    layer, x = build().double(), torch.randn(shape, dtype=torch.float64)
    taker = Taker("", layer, "weight", torch.arange(6))
    factors = torch.tensor([1.0, 0.0, 2.0, -1.0, 0.5, 3.0], dtype=torch.float64)
    scaled = taker.apply(x, Second(taker).times(factors), None)
    torch.testing.assert_close(scaled, taker.apply(x * taker.along(factors, x), layer.weight, None))


def test_rows_are_unfolded_one_piece_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two pictures, each as large as a piece may be, the second is not touched before it is asked for."""
    monkeypatch.setattr("niwaki.calibration.second.LARGEST", 6 * 9 * 25)
    assert LARGEST > 6 * 9 * 25
    seen: list[int] = []

    def unfolded(piece: Tensor, *rest: object) -> Tensor:
        seen.append(len(piece))
        return piece

    monkeypatch.setattr("niwaki.calibration.second._unfolded", unfolded)
    taker = Taker("", nn.Conv2d(6, 4, 3, padding=1), "weight", torch.arange(6))
    found = Second(taker).rows(torch.ones(2, 6, 5, 5))
    assert isinstance(found, Iterator)
    next(found)
    assert seen == [1]
    next(found)
    assert seen == [1, 1]
