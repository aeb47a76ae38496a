"""One epoch, two epochs."""

from __future__ import annotations

import pytest

from niwaki.wording import counted


@pytest.mark.parametrize(("number", "said"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1280, "1,280 images")])
def test_one_thing_has_no_s(number: int, said: str) -> None:
    assert counted(number, "image") == said


def test_a_plural_of_its_own() -> None:
    assert [counted(n, "matrix", "matrices") for n in (1, 3)] == ["1 matrix", "3 matrices"]
