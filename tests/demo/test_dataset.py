"""The demo's images: what is in the files, and what the batches make of them."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from niwaki.demo import dataset
from niwaki.demo.dataset import Batches, Images


@pytest.fixture(scope="module")
def images() -> Images:
    return dataset.load()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    source = Path(dataset.__file__).parent / "data"
    return Path(shutil.copytree(source, tmp_path / "data"))


def test_counts_shapes_and_types(images: Images) -> None:
    assert images.train.shape == (10_000, 1, 28, 28)
    assert images.test.shape == (4_000, 1, 28, 28)
    assert images.train.dtype == images.test.dtype == torch.uint8
    assert images.train_labels.dtype == images.test_labels.dtype == torch.int64


def test_every_class_is_equally_frequent(images: Images) -> None:
    assert images.train_labels.bincount().tolist() == [1_000] * len(dataset.CLASSES)
    assert images.test_labels.bincount().tolist() == [400] * len(dataset.CLASSES)


def test_pixels_have_the_mean_and_spread_that_normalise_takes_away(images: Images) -> None:
    normal = dataset.normalise(images.train)
    assert abs(float(normal.mean())) < 0.01
    assert abs(float(normal.std()) - 1) < 0.01


def test_images_are_upright_and_belong_to_their_labels(images: Images) -> None:
    trousers = images.train[images.train_labels == dataset.CLASSES.index("Trouser")].float().mean(0)[0]
    assert trousers[:, 10:18].mean() > 5 * trousers[:, :6].mean()  # a column in the middle
    boots = images.train[images.train_labels == dataset.CLASSES.index("Ankle boot")].float().mean(0)[0]
    assert boots[20:].mean() > boots[:8].mean()  # the sole is below


def test_no_test_image_is_a_training_image(images: Images) -> None:
    seen = {row.numpy().tobytes() for row in images.train}
    assert not any(row.numpy().tobytes() in seen for row in images.test)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.xz", "test-labels-idx1-ubyte.xz"])
def test_a_damaged_file_is_named(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[100] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is damaged.*SHA256SUMS"):
        dataset.load(copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "test-images-idx3-ubyte.xz").unlink()
    with pytest.raises(FileNotFoundError, match=r"test-images-idx3-ubyte\.xz is missing"):
        dataset.load(copy)


def test_normalise_refuses_what_is_not_raw() -> None:
    with pytest.raises(TypeError, match="already normalised"):
        dataset.normalise(torch.zeros(1, 1, 2, 2))


def moved(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """The slow way: pixel by pixel."""
    result = torch.zeros_like(image)
    height, width = image.shape[-2:]
    for i in range(height):
        for j in range(width):
            if 0 <= i - down < height and 0 <= j - right < width:
                result[..., i, j] = image[..., i - down, j - right]
    return result


def test_shift_equals_moving_each_pixel() -> None:
    moves = torch.cartesian_prod(torch.arange(-2, 3), torch.arange(-2, 3))
    pixels = torch.randint(0, 256, (len(moves), 2, 6, 7), generator=torch.Generator().manual_seed(0))
    got = dataset.shift(pixels, moves[:, 0], moves[:, 1])
    for image, (down, right), result in zip(pixels, moves.tolist(), got, strict=True):
        assert torch.equal(result, moved(image, down, right))


def test_mirror_swaps_left_and_right_of_the_chosen_only() -> None:
    pixels = torch.arange(12).view(2, 1, 2, 3)
    got = dataset.mirror(pixels, torch.tensor([True, False]))
    assert got[0, 0].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert torch.equal(got[1], pixels[1])


def test_augment_draws_every_shift_and_both_sides_and_nothing_else() -> None:
    # One bright point off the centre shows where its image went.
    pixels = torch.zeros(5_000, 1, 9, 9, dtype=torch.uint8)
    pixels[:, 0, 4, 2] = 1
    got = dataset.augment(pixels, torch.Generator().manual_seed(0))
    places = Counter((int(i), int(j)) for _, _, i, j in got.nonzero())
    expected = {(i, j) for i in range(2, 7) for j in (*range(5), *range(4, 9))}
    assert set(places) == expected
    assert sum(places.values()) == len(pixels)
    # Column 4 is reached from both sides; any other place by 1 draw in 50.
    rare = [count for (_, column), count in places.items() if column != 4]
    assert min(rare) > 60
    assert max(rare) < 150


def numbered(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that carry their number in every pixel."""
    labels = torch.arange(count)
    return labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 28, 28), labels


def test_an_epoch_shows_each_image_once_with_its_label() -> None:
    pixels, labels = numbered(100)
    batches = Batches(pixels, labels, size=20, augmented=False)
    drawn = list(batches)
    assert len(drawn) == len(batches) == 5
    assert sorted(torch.cat([y for _, y in drawn]).tolist()) == list(range(100))
    for x, y in drawn:
        assert torch.equal(x, dataset.normalise(pixels[y]))


def test_what_does_not_fill_a_batch_is_left_out() -> None:
    batches = Batches(*numbered(50), size=20)
    assert len(batches) == 2
    assert [x.shape for x, _ in batches] == [(20, 1, 28, 28)] * 2


def epochs_of(batches: Batches, count: int) -> list[torch.Tensor]:
    return [torch.cat([x for x, _ in batches]) for _ in range(count)]


def test_the_seed_alone_decides(images: Images) -> None:
    part = images.train[:300], images.train_labels[:300]
    first = epochs_of(Batches(*part, size=100, seed=7), 2)
    torch.manual_seed(123)  # the global generator must not matter
    again = epochs_of(Batches(*part, size=100, seed=7), 2)
    other = epochs_of(Batches(*part, size=100, seed=70), 1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


def test_an_epoch_can_be_drawn_again_by_its_number(images: Images) -> None:
    batches = Batches(images.train[:200], images.train_labels[:200], size=100)
    _, second, _ = epochs_of(batches, 3)
    assert batches.epoch == 3
    batches.epoch = 1
    assert torch.equal(epochs_of(batches, 1)[0], second)


def test_two_iterators_of_one_epoch_do_not_disturb_each_other(images: Images) -> None:
    def fresh() -> Batches:
        return Batches(images.train[:200], images.train_labels[:200], size=100)

    batches = fresh()
    one, two = iter(batches), iter(batches)
    drawn = [next(iterator)[0] for iterator in (one, two, one, two)]
    first, second = epochs_of(fresh(), 2)
    assert torch.equal(torch.cat(drawn[0::2]), first)
    assert torch.equal(torch.cat(drawn[1::2]), second)


def test_batches_refuse_what_cannot_be_drawn() -> None:
    pixels, labels = numbered(10)
    with pytest.raises(ValueError, match="10 images, but 9 labels"):
        Batches(pixels, labels[:9])
    with pytest.raises(ValueError, match="a batch of 11 cannot be drawn from 10 images"):
        Batches(pixels, labels, size=11)
