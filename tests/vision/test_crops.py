"""Windows of pictures: inside, of the shapes that they should have, and taken from the right place."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest

from niwaki.vision.crops import AREA, ASPECT, central_view, middle_window, random_view, random_window, scaled

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def test_random_windows_lie_inside_and_have_the_areas_and_shapes_asked_for() -> None:
    draw = Random(0)
    windows = [random_window(400, 300, draw) for _ in range(2000)]
    areas, aspects = [], []
    for left, upper, right, lower in windows:
        assert 0 <= left < right <= 400
        assert 0 <= upper < lower <= 300
        areas.append((right - left) * (lower - upper) / (400 * 300))
        aspects.append((right - left) / (lower - upper))
    assert AREA[0] * 0.98 <= min(areas) < 0.1
    assert 0.95 < max(areas) <= 1
    assert ASPECT[0] * 0.98 <= min(aspects) < 0.76
    assert 1.31 < max(aspects) <= ASPECT[1] * 1.02
    # A window of shape a fits below an area of u = 3/4 a, and log u is even between log 9/16 and 0, so that the mean
    # is (E[u u] - 0.08²) / 2 / (E[u] - 0.08) = (0.594 - 0.006) / 2 / (0.760 - 0.08).
    assert sum(areas) / len(areas) == pytest.approx(0.432, abs=0.02)
    assert min(w[0] for w in windows) == 0
    assert max(w[2] for w in windows) == 400


def test_windows_have_at_least_the_area_asked_for() -> None:
    draw = Random(0)
    windows = [random_window(400, 300, draw, (0.5, 0.6)) for _ in range(300)]
    areas = [(right - left) * (lower - upper) / (400 * 300) for left, upper, right, lower in windows]
    assert 0.49 < min(areas) < 0.52
    assert 0.58 < max(areas) < 0.61


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((1000, 30), (480, 0, 520, 30)),  # 4 : 3 of a strip
        ((30, 1000), (0, 480, 30, 520)),  # 3 : 4
        ((40, 36), (0, 0, 40, 36)),
        ((1, 1), (0, 0, 1, 1)),
    ],
)
def test_the_window_in_the_middle(size: tuple[int, int], window: tuple[int, ...]) -> None:
    assert middle_window(*size) == window


def test_a_strip_that_no_draw_fits_gives_its_middle() -> None:
    assert random_window(100_000, 30, Random(0)) == (49_980, 0, 50_020, 30)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((500, 375), (341, 256)), ((375, 500), (256, 341)), ((100, 100), (256, 256)), ((256, 300), (256, 300))],
)
def test_scaled_to_a_shorter_side(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert scaled(*size, 256) == expected


def test_the_central_view_is_the_middle() -> None:
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:, :, 0] = np.arange(24)
    pixels[:, :, 1] = np.arange(16)[:, None]
    view = np.asarray(central_view(Image.fromarray(pixels), 14, 16))  # already of that size: nothing is scaled
    assert view.shape == (14, 14, 3)
    assert np.array_equal(view, pixels[1:15, 5:19])


def test_a_random_view_is_its_window_scaled_and_mirrored_half_of_the_time() -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, :, 0] = np.arange(40) * 6
    picture, mirrored = Image.fromarray(pixels), 0
    for seed in range(200):
        left, _, right, _ = random_window(40, 40, Random(seed))
        row = np.asarray(random_view(picture, 8, Random(seed)))[4, :, 0].astype(float)
        rising = row[-1] > row[0]
        mirrored += not rising
        row = row if rising else row[::-1]
        assert row[0] == pytest.approx(6 * (left + (right - left) / 16 - 0.5), abs=8)
        assert row[-1] == pytest.approx(6 * (right - (right - left) / 16 - 0.5), abs=8)
    assert abs(mirrored - 100) < 4 * math.sqrt(50)
