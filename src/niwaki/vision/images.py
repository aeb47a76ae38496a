"""Small images held in memory as bytes, drawn in normalised batches on the device where they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.modes import evaluating
from niwaki.vision.augment import PAPER, CropAndFlip, Moves
from niwaki.vision.seeds import epoch_seed

Colour = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Images:
    """Training and test images (uint8, N x 3 x H x W) with their class numbers (int64, N).

    Attributes:
        mean, std: of red, green and blue, of pixels scaled to 0..1; what batches are normalised by.
        classes: how many classes there are; the labels are 0 to classes - 1.

    Raises:
        BadInput: a tensor has another type or shape, or a label is out of range.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    mean: Colour
    std: Colour
    classes: int

    def __post_init__(self) -> None:
        for pixels, labels in ((self.train, self.train_labels), (self.test, self.test_labels)):
            _check(pixels, labels)
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
                found = f"{int(labels.min())} to {int(labels.max())}"
                raise BadInput(f"{self.classes} classes have labels 0 to {self.classes - 1}; found {found}.")

    def to(self, device: torch.device | str) -> Images:
        """The same images on that device."""
        names = ("train", "train_labels", "test", "test_labels")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def batches(self, size: int = 128, seed: int = 0, **options: Any) -> Batches:
        """`Batches` of the training images; ``options`` are those of `Batches`."""
        return Batches(self.train, self.train_labels, size, seed, mean=self.mean, std=self.std, **options)

    def accuracy(self, model: nn.Module, size: int = 500) -> float:
        """Share of the test images that the model names right, 0 to 1; see `accuracy`."""
        return accuracy(model, self.test, self.test_labels, size, mean=self.mean, std=self.std)


class Normaliser:
    """uint8 pixels (N x 3 x H x W) -> numbers of about zero mean and unit variance in each channel.

    Args:
        mean, std: of red, green and blue, of pixels scaled to 0..1.
        device: where the pixels will be.
        dtype: of the result; it is computed in float32.

    Raises:
        BadInput: there are not three of each, or a spread is not above zero.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise BadInput(f"mean and std are three numbers each, std above 0; got {mean!r} and {std!r}.")
        self.dtype = dtype
        self._mean = torch.tensor(mean, dtype=torch.float32, device=device).mul_(255).view(3, 1, 1)
        self._scale = torch.tensor(std, dtype=torch.float32, device=device).mul_(255).reciprocal_().view(3, 1, 1)

    def __call__(self, pixels: Tensor) -> Tensor:
        """The pixels normalised, laid out in memory as they were.

        Raises:
            BadInput: they are not uint8, so they may have been normalised already.
        """
        if pixels.dtype != torch.uint8:
            raise BadInput(f"Expected raw uint8 pixels, got {pixels.dtype}; were they normalised already?")
        return pixels.float().sub_(self._mean).mul_(self._scale).to(self.dtype)


class Batches:
    """Normalised batches (N x 3 x H x W, and int64 N), drawn anew each time one iterates.

    The order and the augmentation of an epoch depend on ``seed`` and ``epoch`` alone, and not on the device. ``epoch``
    is the number of the next epoch: it goes up by one with each iteration, and may be set to go back or to resume.

    Args:
        images: uint8, N x 3 x H x W.
        labels: int64, N.
        size: images in a batch.
        seed: of the order and of the augmentation.
        mean, std: what the images are normalised by, as in `Normaliser`.
        augment: how images are moved; None leaves them as they are.
        device: where the images are kept and the batches are made; by default, where the images are now.
        dtype: of the batches.
        channels_last: lay the batches out so, which is faster for convolutions in low precision.
        partial: give the last images too, in a smaller batch. Otherwise those that do not fill a batch are left out of
            that epoch, so that all batches have one shape.

    Raises:
        BadInput: images and labels do not fit each other, or there are too few for one batch.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        size: int = 128,
        seed: int = 0,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        augment: CropAndFlip | None = PAPER,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        partial: bool = False,
    ) -> None:
        _check(images, labels)
        if not 1 <= size <= len(images):
            raise BadInput(f"A batch of {size} cannot be drawn from {len(images)} images; ask for fewer.")
        device = images.device if device is None else device
        self.images, self.labels = images.to(device), labels.to(device)
        self.size, self.seed, self.augment, self.partial = size, seed, augment, partial
        self.epoch = 0
        self._normalised = Normaliser(mean, std, device, dtype)
        self._layout = torch.channels_last if channels_last else torch.contiguous_format

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-len(self.images) // self.size) if self.partial else len(self.images) // self.size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # Drawn on the processor, for the same numbers everywhere, and sent over once and not with every batch.
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        self.epoch += 1
        order = torch.randperm(len(self.images), generator=generator).to(self.images.device)
        if self.augment is None:
            return self._batches(order, None, None)
        return self._batches(order, self.augment, self.augment.draw(len(order), generator).to(self.images.device))

    def _batches(
        self, order: Tensor, augment: CropAndFlip | None, moves: Moves | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self) * self.size, self.size):
            chosen = order[start : start + self.size]
            pixels = self.images[chosen]
            if augment is not None and moves is not None:
                pixels = augment.apply(pixels, moves.part(start, start + self.size))
            yield self._normalised(pixels).contiguous(memory_format=self._layout), self.labels[chosen]


def accuracy(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    size: int = 500,
    *,
    mean: Sequence[float],
    std: Sequence[float],
) -> float:
    """Share of right answers, 0 to 1, in evaluation mode; the modes of all modules are put back afterwards.

    Args:
        model: gives logits (N, classes). The images go to the device and type of its first parameter.
        images: uint8, N x 3 x H x W, on any device.
        labels: int64, N.
        size: images in a batch; it changes the speed only.
        mean, std: what the images are normalised by, as in `Normaliser`.

    Raises:
        BadInput: images and labels do not fit each other, or there are none.
    """
    _check(images, labels)
    if size < 1:
        raise BadInput(f"A batch holds at least one image, not {size}.")
    home = next(model.parameters(), torch.zeros(()))
    normalised = Normaliser(mean, std, home.device, home.dtype)
    pairs = zip(images.split(size), labels.split(size), strict=True)
    return share_right(model, ((normalised(x.to(home.device)), y.to(home.device)) for x, y in pairs))


@torch.no_grad()  # no inference mode: tables that the model makes and keeps could not be trained through
def share_right(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The same for batches that are normalised already, and where the model is.

    Raises:
        BadInput: there is no image.
    """
    right, count = torch.zeros((), dtype=torch.int64), 0
    with evaluating(model):
        for x, y in batches:
            # Summed where the answers are: asking for each sum would make the device wait.
            right = right.to(y.device) + (model(x).argmax(1) == y).sum()
            count += len(y)
    if not count:
        raise BadInput("There are no images to be right or wrong about; give at least one batch.")
    return int(right) / count


def _check(images: Tensor, labels: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise BadInput(f"Images are uint8 tensors of N x 3 x H x W, not {images.dtype} of {tuple(images.shape)}.")
    if labels.dtype != torch.int64 or labels.ndim != 1:
        raise BadInput(f"Labels are an int64 tensor of one dimension, not {labels.dtype} of {tuple(labels.shape)}.")
    if len(images) != len(labels):
        raise BadInput(f"There are {len(images)} images, but {len(labels)} labels; each image has one.")
