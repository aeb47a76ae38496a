"""Crops and mirrorings of whole batches, against moving each pixel."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from niwaki.errors import BadInput
from niwaki.vision.augment import PAPER, CropAndFlip, Moves


def moves(top: list[int], left: list[int], mirrored: list[bool] | None = None) -> Moves:
    return Moves(torch.tensor(top), torch.tensor(left), torch.tensor(mirrored or [False] * len(top)))


def pixels(count: int, height: int = 5, width: int = 6) -> torch.Tensor:
    return torch.randint(1, 256, (count, 3, height, width), generator=torch.Generator().manual_seed(0)).byte()


def test_a_window_in_the_middle_is_the_image() -> None:
    images = pixels(3)
    assert torch.equal(PAPER.apply(images, moves([4] * 3, [4] * 3)), images)


def test_every_crop_is_the_shifted_image() -> None:
    offsets = torch.cartesian_prod(torch.arange(9), torch.arange(9)).tolist()
    images = pixels(len(offsets))
    got = PAPER.apply(images, moves([t for t, _ in offsets], [x for _, x in offsets]))
    for image, (top, left), result in zip(images, offsets, got, strict=True):
        for i in range(5):
            for j in range(6):
                row, column = i + top - 4, j + left - 4
                inside = 0 <= row < 5 and 0 <= column < 6
                expected = image[:, row, column].tolist() if inside else [0, 0, 0]
                assert result[:, i, j].tolist() == expected


def test_a_flip_swaps_left_and_right_of_the_chosen_only() -> None:
    images = pixels(2)
    got = PAPER.apply(images, moves([4, 4], [4, 4], [True, False]))
    assert torch.equal(got[0], images[0].flip(-1))
    assert torch.equal(got[1], images[1])


def test_a_crop_is_mirrored_after_it_is_cut() -> None:
    images = pixels(1)
    cut = PAPER.apply(images, moves([1], [7]))
    assert torch.equal(PAPER.apply(images, moves([1], [7], [True])), cut.flip(-1))


def test_other_widths_of_padding_and_types_of_pixels() -> None:
    images = pixels(1).float()
    got = CropAndFlip(pad=1).apply(images, moves([2], [1]))
    assert torch.equal(got[0, :, :-1], images[0, :, 1:])
    assert not got[0, :, -1].any()


def test_every_move_is_drawn_and_about_equally_often() -> None:
    drawn = PAPER.draw(16_200, torch.Generator().manual_seed(0))
    counts = Counter(zip(drawn.top.tolist(), drawn.left.tolist(), strict=True))
    assert set(counts) == {(i, j) for i in range(9) for j in range(9)}
    assert 140 < min(counts.values()) <= max(counts.values()) < 260  # 200 on average, standard deviation 14
    assert abs(int(drawn.mirrored.sum()) - 8_100) < 300


def test_never_and_always_flipped() -> None:
    generator = torch.Generator().manual_seed(0)
    assert not CropAndFlip(flip=0).draw(100, generator).mirrored.any()
    assert CropAndFlip(flip=1).draw(100, generator).mirrored.all()


@pytest.mark.parametrize("settings", [{"pad": -1}, {"pad": 1.5}, {"pad": True}, {"flip": 1.1}, {"flip": float("nan")}])
def test_settings_that_cannot_be_meant(settings: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=f"{next(iter(settings))} is a .*, not "):
        CropAndFlip(**settings)
