"""Caches of functions after a model was watched: those of models' code are emptied, those of the compiler are not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
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


TABLE: dict[Any, Any] = {}
KEPT = torch.ones(1)
LATEST: Tensor | None = None


class Cached(nn.Module):
    """Keeps one table of positions by hand, in whichever place ``keep`` names."""

    of_class: ClassVar[dict[int, Tensor]] = {}
    row: ClassVar[list[Tensor]] = []
    one: Tensor | None = None

    def __init__(self, keep: Callable[[Callable[[], Tensor]], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.keep = nn.Linear(4, 8), nn.Linear(8, 2), keep

    def forward(self, x: Tensor) -> Tensor:
        table = self.keep(lambda: torch.ones(x.shape[1], x.shape[1]).tril())
        return self.b(table @ self.a(x).relu())


def in_table(make: Callable[[], Tensor]) -> Tensor:
    return TABLE[3] if 3 in TABLE else TABLE.setdefault(3, make())


def in_a_table_inside(make: Callable[[], Tensor]) -> Tensor:
    inner = TABLE.setdefault("cpu", {})
    return inner[3] if 3 in inner else inner.setdefault(3, make())


def in_a_class(make: Callable[[], Tensor]) -> Tensor:
    return Cached.of_class[3] if Cached.of_class else Cached.of_class.setdefault(3, make())


def in_a_list(make: Callable[[], Tensor]) -> Tensor:
    if not Cached.row:
        Cached.row.append(make())
    return Cached.row[0]


def in_a_class_attribute(make: Callable[[], Tensor]) -> Tensor:
    Cached.one = make() if Cached.one is None else Cached.one
    return Cached.one


def in_a_global(make: Callable[[], Tensor]) -> Tensor:
    global LATEST
    LATEST = make() if LATEST is None else LATEST
    return LATEST


@pytest.fixture
def emptied() -> Iterator[None]:
    global LATEST
    yield
    LATEST = Cached.one = None
    for table in (TABLE, Cached.of_class, Cached.row):
        table.clear()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("emptied")
@pytest.mark.parametrize(
    "keep", [in_table, in_a_table_inside, in_a_class, in_a_list, in_a_class_attribute, in_a_global]
)
def test_tables_that_the_code_keeps_are_left_as_they_were(keep: Any) -> None:
    model, x, kept = Cached(keep), torch.ones(2, 3, 4), KEPT
    TABLE["theirs"] = KEPT
    assert [g.name for g in nk.trace(model, x).groups] == ["a"]
    assert TABLE.get("theirs") is kept is KEPT
    assert LATEST is None is Cached.one
    assert not Cached.of_class
    assert not Cached.row
    assert not TABLE.keys() - {"theirs", "cpu"}
    model(x).sum().backward()


@pytest.mark.usefixtures("emptied")
def test_what_others_do_meanwhile_stays() -> None:
    def meanwhile(make: Callable[[], Tensor]) -> Tensor:
        Cached.row[:] = [make(), others]
        TABLE.update(new=others, made=make(), gone=make())
        TABLE.pop("old", None)
        return make()

    others = torch.zeros(1)
    TABLE.update(old=KEPT, gone=KEPT)
    nk.trace(Cached(meanwhile), torch.ones(2, 3, 4), prove=False)
    assert set(TABLE) == {"new", "gone"}
    assert TABLE["gone"] is KEPT
    assert [id(t) for t in Cached.row] == [id(others)]


@pytest.mark.usefixtures("emptied")
def test_what_a_list_had_comes_back() -> None:
    def keep(make: Callable[[], Tensor]) -> Tensor:
        Cached.row.insert(0, make())
        Cached.row[1] = make()
        return make()

    Cached.row.extend([KEPT, torch.zeros(1)])
    before = list(Cached.row)
    nk.trace(Cached(keep), torch.ones(2, 3, 4), prove=False)
    assert [id(t) for t in Cached.row] == [id(t) for t in before]
