"""What the demo's recipe names: the network, its data, its training step and its test."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from niwaki.demo import dataset, training
from niwaki.demo.network import ResidualNet
from niwaki.vision.jobs.training import loss

BATCH = 64


def build() -> nn.Module:
    """The dense network: 174 thousand parameters, 5.7 million multiply-adds an image; channels last, which trains
    faster. Its weights are drawn from the global generator."""
    model = ResidualNet((24, 48, 96), blocks=1, stem_stride=2)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def inputs() -> Tensor:
    """64 test images, normalised: what the network is traced, certified and timed on."""
    return dataset.normalise(images().test[:BATCH])


def batches(seed: int = 0) -> dataset.Batches:
    """Augmented training images in a seeded order that is new in every epoch."""
    return dataset.Batches(images().train, images().train_labels, BATCH, seed)


def accuracy(model: nn.Module) -> float:
    """Share of the 4,000 test images that are named right."""
    return training.accuracy(model, images().test, images().test_labels)


@cache
def images() -> dataset.Images:
    """The data set, read once."""
    return dataset.load()


__all__ = ["BATCH", "accuracy", "batches", "build", "images", "inputs", "loss"]
