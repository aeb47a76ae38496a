"""The functions that ``recipes/fashion.yaml`` names: a small network, trained here, on the package's own images.

A recipe of yours points at functions like these in a file of yours.
"""

from __future__ import annotations

from functools import cache

from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.demo import dataset, training
from niwaki.demo.network import ResidualNet


def trained(epochs: int = 2, widths: tuple[int, ...] = (16, 32, 64), lr: float = 0.1) -> nn.Module:
    """A residual network, trained for some epochs. Yours would more likely be built here and get its ``weights``."""
    model = ResidualNet(tuple(widths), blocks=1, stem_stride=2)
    if epochs:
        training.train(model, batches(), epochs, lr)
    return model


def batches(seed: int = 0) -> dataset.Batches:
    """Batches of training images; the ``seed`` lets every method see them in the same order."""
    images = _images()
    return dataset.Batches(images.train, images.train_labels, size=128, seed=seed)


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """One training step up to the loss; niwaki calls ``backward()`` and the optimizer."""
    images, labels = batch
    return F.cross_entropy(model(images), labels)


def accuracy(model: nn.Module, half: int | None = None) -> float:
    """Share of the test images that are named right. ``half``: of every second image only, from the first (0) or from
    the second (1) on, so that settings can be chosen by other images than those that a table tells of."""
    images = _images()
    shown = slice(None) if half is None else slice(half, None, 2)
    return training.accuracy(model, images.test[shown], images.test_labels[shown])


@cache
def _images() -> dataset.Images:
    return dataset.load()
