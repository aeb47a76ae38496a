"""Families written out here in plain torch: what people write themselves, or take from a paper."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from niwaki.testing.families.family import Family, nothing, words
from niwaki.testing.families.feeds import Feed, alone, floats
from niwaki.testing.families.planting import on_meta, planted

Make = Callable[[], nn.Module]


def handmade(
    name: str,
    tags: str,
    kinds: str,
    tiny: Make,
    inputs: Feed,
    real: Make | None = None,
    real_inputs: Feed = nothing,
    note: str = "",
) -> Family:
    """Make a family of two ways to call a class: tiny, and as published where that was ever done."""
    full = nothing if real is None else on_meta(real)
    return Family(name, words(tags), words(kinds), planted(tiny), inputs, full, real_inputs, note)


def pictured(name: str, tags: str, tiny: Make, real: Make | None = None, note: str = "") -> Family:
    """Make a family of a convolutional network that is shown a picture."""
    small, large = alone(floats(2, 3, 32, 32)), alone(floats(1, 3, 224, 224))
    return handmade(name, f"vision cnn {tags}", "channel", tiny, small, real, large if real else nothing, note)


def conv(
    enter: int, leave: int, kernel: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = nn.ReLU
) -> nn.Sequential:
    """Make a convolution that keeps the picture's size (but for its stride), with its batch norm and activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(enter, leave, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(leave),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


class SqueezeExcite(nn.Module):
    """Scales each channel by what a small network makes of the means of all channels."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, inner, 1)
        self.excite = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * nn.functional.hardsigmoid(self.excite(self.squeeze(means).relu()))
