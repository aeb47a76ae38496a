"""How a family is planted: seeded, every weight drawn anew, in eval mode."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from niwaki.testing.zoo.nursery import seeded

_OFFSETS = ("running_mean", "final_logits_bias", "e_score_correction_bias")
"""Buffers that start at zero, are added or subtracted, and that training fills."""


def planted(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Give a builder of what ``make`` makes that gives the same living network every time."""
    return partial(seeded, partial(_plant, make))


def on_meta(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Give a builder of what ``make`` makes that takes no memory for its weights."""
    return partial(_weightless, make)


def _plant(make: Callable[[], nn.Module]) -> nn.Module:
    model = make()
    _enliven(model)
    return _settle(model).eval()


def _weightless(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        model = make()
    return model.to("meta").eval()  # what was made by an old constructor, or after a detour, is still on the CPU


@torch.no_grad()
def _enliven(model: nn.Module) -> None:
    """Draw every weight and statistic.

    Fresh norms, biases, layer scales and padding rows are all zeros or ones and hide mistakes; and fresh matrices of
    transformers are so small that their attention is flat and their logits do not tell one cut from another.
    """
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            _draw(module, name, weight)
        for name, buffer in module.named_buffers(recurse=False):
            if name in _OFFSETS:
                buffer.normal_(std=0.2)
            elif name == "running_var":
                buffer.uniform_(0.5, 1.5)
            elif name in ("weight", "bias") and buffer.dim() == 1:  # of a frozen batch norm
                _draw(module, name, buffer)


def _draw(module: nn.Module, name: str, weight: Tensor) -> None:
    if weight.dim() < 2 or weight.numel() == max(weight.shape):  # a vector, maybe with axes of one around it
        if "bias" in name or "beta" in name:
            weight.normal_(mean=0.2, std=0.2)  # rather positive: far below zero it would kill what a ReLU reads
        else:
            weight.uniform_(0.5, 1.5)
    else:
        # Convolutions come in deep stacks with a ReLU after each: without the two, no picture would reach the end.
        fan = weight[0].numel() / 2 if isinstance(module, _ConvNd) else weight.shape[-1]
        weight.normal_(std=fan**-0.5)


def _settle(model: nn.Module) -> nn.Module:
    """Let every spectral norm find its singular vectors again: it keeps those of the weight that was there before."""
    for module in model.modules():
        if isinstance(module, nn.utils.parametrize.ParametrizationList) and hasattr(module[0], "_power_method"):
            module.train()
            for _ in range(20):
                module()
    return model
