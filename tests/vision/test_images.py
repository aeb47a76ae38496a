"""Images in memory: what is refused, what batches are made of, and how they come again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from niwaki.errors import BadInput
from niwaki.vision.images import Batches, Images, Normaliser, accuracy, share_right

MEAN, STD = (0.2, 0.4, 0.6), (0.1, 0.2, 0.5)


def numbered(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that carry their number in every pixel."""
    labels = torch.arange(count)
    return labels.byte()[:, None, None, None].expand(-1, 3, 8, 8).clone(), labels


def some(count: int = 20) -> Images:
    pixels, labels = numbered(count)
    return Images(pixels, labels, pixels[:5], labels[:5], MEAN, STD, classes=count)


def random_batches(count: int = 40, size: int = 8, seed: int = 3, **options) -> Batches:
    pixels = torch.randint(0, 256, (count, 3, 8, 8), generator=torch.Generator().manual_seed(1)).byte()
    return Batches(pixels, torch.arange(count), size, seed, mean=MEAN, std=STD, **options)


def same(one, other) -> bool:
    return all(torch.equal(x, v) and torch.equal(y, w) for (x, y), (v, w) in zip(one, other, strict=True))


def test_normalised_by_hand() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    got = Normaliser(MEAN, STD)(pixels).flatten().tolist()
    assert got == pytest.approx([(0 - 0.2) / 0.1, (0.2 - 0.4) / 0.2, (1 - 0.6) / 0.5], abs=1e-6)


def test_normalised_in_low_precision_is_rounded_once() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 1, 1)
    low = Normaliser(MEAN, STD, dtype=torch.bfloat16)(pixels)
    assert torch.equal(low, Normaliser(MEAN, STD)(pixels).bfloat16())


def test_normalising_twice_is_refused() -> None:
    with pytest.raises(BadInput, match="float32; were they normalised already"):
        Normaliser(MEAN, STD)(torch.zeros(1, 3, 2, 2))


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5,)), (MEAN, (0.1, 0.0, 0.1))])
def test_a_mean_or_spread_that_cannot_be_meant(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(BadInput, match="three numbers each, std above 0"):
        Normaliser(mean, std)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": torch.zeros(20, 3, 8, 8)}, "uint8 tensors"),
        ({"train": torch.zeros(20, 1, 8, 8, dtype=torch.uint8)}, "N x 3 x H x W"),
        ({"test_labels": torch.zeros(5, dtype=torch.int32)}, "int64"),
        ({"test_labels": torch.zeros(4, dtype=torch.int64)}, "5 images, but 4 labels"),
        ({"classes": 19}, "19 classes have labels 0 to 18; found 0 to 19"),
        ({"test_labels": torch.full((5,), -1)}, "found -1 to -1"),
    ],
)
def test_images_that_do_not_fit_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        replace(some(), **change)


def test_an_epoch_has_every_image_once_with_its_label() -> None:
    batches = some(20).batches(5, augment=None)
    seen = []
    for x, y in batches:
        pixels = x * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
        assert (pixels * 255).round().long()[:, 0, 0, 0].tolist() == y.tolist()
        seen += y.tolist()
    assert len(batches) == 4
    assert sorted(seen) == list(range(20))
    assert seen != list(range(20))


def test_augmentation_moves_the_images_and_keeps_their_labels() -> None:
    pixels, labels = numbered(20)
    batches = Batches(pixels, labels, 20, mean=MEAN, std=STD)
    ((x, y),) = batches
    values = ((x * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) * 255).round().long()
    assert values.amax((1, 2, 3)).tolist() == y.tolist()  # what moved in is black
    assert (values[y > 0].amin((1, 2, 3)) == 0).any()


def test_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    torch.manual_seed(0)
    one = random_batches()
    first, second = list(one), list(one)
    torch.manual_seed(1)
    assert same(first, random_batches())
    assert not same(first, second)
    assert not same(first, random_batches(seed=9))
    later = random_batches(seed=3)
    later.epoch = 1
    assert not same(later, random_batches(seed=4))  # runs of neighbouring seeds share no epoch


def test_every_image_is_moved_in_its_own_way_whatever_the_size_of_the_batches() -> None:
    small, whole = list(random_batches(size=8)), list(random_batches(size=40))
    joined = [(torch.cat([x for x, _ in small]), torch.cat([y for _, y in small]))]
    assert same(joined, whole)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    list(random_batches())
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1))


def test_a_run_resumes_at_an_epoch() -> None:
    whole, resumed = random_batches(), random_batches()
    list(whole), list(whole)
    assert whole.epoch == 2
    resumed.epoch = 2
    assert same(whole, resumed)


def test_epochs_that_overlap_do_not_disturb_each_other() -> None:
    batches = random_batches()
    first, second = iter(batches), iter(batches)
    mixed = [(next(first), next(second)) for _ in range(len(batches))]
    assert same([x for x, _ in mixed], random_batches())


def test_what_does_not_fill_a_batch_is_left_out_or_given() -> None:
    whole = random_batches(20, 8)
    rest = random_batches(20, 8, partial=True)
    assert [len(y) for _, y in whole] == [8, 8]
    assert len(whole) == 2
    assert [len(y) for _, y in rest] == [8, 8, 4]
    assert len(rest) == 3


def test_type_and_layout_of_the_batches() -> None:
    x, y = next(iter(random_batches(dtype=torch.bfloat16, channels_last=True)))
    assert (x.dtype, y.dtype, x.shape) == (torch.bfloat16, torch.int64, (8, 3, 8, 8))
    assert x.is_contiguous(memory_format=torch.channels_last)
    plain, _ = next(iter(random_batches()))
    assert plain.is_contiguous()
    assert torch.equal(plain.bfloat16(), x)


@pytest.mark.parametrize("size", [0, -1, 41])
def test_a_batch_larger_than_the_images_is_refused(size: int) -> None:
    with pytest.raises(BadInput, match=f"batch of {size} cannot be drawn from 40 images"):
        random_batches(size=size)


class FirstPixel(nn.Module):
    """Says class 1 where the first pixel is bright. Its batch norm shows in which mode it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.quiet = nn.BatchNorm2d(3), nn.Dropout()
        self.quiet.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.norm.training
        bright = x[:, 0, 0, 0]
        return torch.stack([-bright, bright], 1)


def test_accuracy_by_hand_in_batches_of_any_size() -> None:
    pixels = torch.zeros(5, 3, 2, 2, dtype=torch.uint8)
    pixels[:2] = 255
    labels = torch.tensor([1, 0, 0, 0, 1])
    model = FirstPixel()
    for size in (1, 2, 500):
        assert accuracy(model, pixels, labels, size, mean=MEAN, std=STD) == pytest.approx(3 / 5)
    assert (model.training, model.norm.training, model.quiet.training) == (True, True, False)
    assert Images(pixels, labels, pixels, labels, MEAN, STD, 2).accuracy(model) == pytest.approx(3 / 5)


def test_accuracy_takes_the_type_of_the_model() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 20)).bfloat16()
    assert 0 <= some().accuracy(model) <= 1


def test_modes_are_put_back_after_an_error() -> None:
    model = FirstPixel()
    with pytest.raises(IndexError):
        share_right(model, [(torch.zeros(1), torch.zeros(1, dtype=torch.int64))])
    assert model.training


def test_accuracy_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="no images to be right or wrong about"):
        share_right(FirstPixel(), [])
    with pytest.raises(BadInput, match="at least one image, not 0"):
        accuracy(FirstPixel(), *numbered(2), 0, mean=MEAN, std=STD)


def test_whole_numbers_normalise_too() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    assert Normaliser((0, 0, 0), (1, 1, 1))(pixels).flatten().tolist() == pytest.approx([0, 0.2, 1])


class Keeps(nn.Module):
    """Makes a table when it is first called, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.table = nn.Linear(4, 2), None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.table is None:
            self.table = torch.linspace(1, 2, 2)
        return self.layer(x) * self.table


def test_a_model_that_keeps_a_table_trains_afterwards() -> None:
    model = Keeps()
    share_right(model, [(torch.ones(3, 4), torch.zeros(3, dtype=torch.int64))])
    model(torch.ones(3, 4)).sum().backward()
    assert model.layer.bias.grad.tolist() == [3, 6]
