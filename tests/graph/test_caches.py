"""Caches of functions after a model was watched: those of models' code are emptied, those of the compiler are not."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from niwaki.graph.caches import forgetting


def cached(module: str) -> tuple[Callable[[int], int], list[int]]:
    """A function as a module of that name has it, and what it was really asked."""
    asked: list[int] = []

    def double(n: int) -> int:
        asked.append(n)
        return 2 * n

    double.__module__ = module
    return functools.cache(double), asked


@pytest.mark.parametrize(
    ("module", "again"),
    [
        ("models.positions", True),
        ("torchvision.ops", True),
        ("torch._inductor.fx_passes.post_grad", False),
        ("triton.runtime", False),
    ],
)
def test_what_is_done_once_by_the_compiler_stays_done(module: str, again: bool) -> None:
    double, asked = cached(module)
    with forgetting():
        assert double(1) == double(1) == 2
    double(1)
    assert asked == ([1, 1] if again else [1])


def test_what_was_filled_before_stays() -> None:
    double, asked = cached("models.positions")
    double(1)
    with forgetting():
        double(1)
    double(1)
    assert asked == [1]
