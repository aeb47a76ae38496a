"""Windows, diagonals and sampling at computed places: worked out by hand, cut as masked, refused where they must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import NothingToPrune
from niwaki.graph import Call, rules
from niwaki.graph.labels import Atoms
from niwaki.testing import laws
from tests.graph.nets import Net, group_with, held

Forward = Callable[..., Any]


def image() -> Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def net(forward: Forward, last: nn.Module, **more: nn.Module | Tensor) -> Net:
    """Convolution a makes six channels, ``last`` reads something of them."""
    torch.manual_seed(0)
    return Net(forward, a=nn.Conv2d(3, 6, 3, padding=1), b=last, **more)


def hold(model: nn.Module) -> nk.Graph:
    graph = nk.trace(model, image())
    laws.cut_equals_masked(model, image(), ratios=(0.2, 0.6), seeds=(0, 1), graph=graph)
    return graph


def pixels(channels: int, window: int) -> list[list[int]]:
    """The columns of each channel, when every channel has ``window`` of them in a row."""
    return [[window * i + k for k in range(window)] for i in range(channels)]


PLACES = torch.rand(2, 5, 4, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
CHANNELS = [[i] for i in range(6)]

# What is between convolution a and layer b, layer b, and which of b's columns each channel holds.
BETWEEN: dict[str, tuple[Forward, nn.Module, list[list[int]]]] = {
    "unfolded": (lambda n, x: n.b(F.unfold(n.a(x), 2).mT), nn.Linear(24, 2), pixels(6, 4)),
    "unfolded with a rim of zeros": (
        lambda n, x: n.b(F.unfold(n.a(x), 3, padding=1, stride=2).mT),
        nn.Linear(54, 2),
        pixels(6, 9),
    ),
    "unfolded to single pixels": (lambda n, x: n.b(F.unfold(n.a(x), 1).mT), nn.Linear(6, 2), CHANNELS),
    "unfolded, one picture": (lambda n, x: n.b(F.unfold(n.a(x)[0], 2).mT), nn.Linear(24, 2), pixels(6, 4)),
    "unfolded and folded": (
        lambda n, x: n.b(F.fold(F.unfold(n.a(x), 3, padding=1).relu(), x.shape[2:], 3, padding=1)),
        nn.Conv2d(6, 2, 1),
        CHANNELS,
    ),
    "windows of rows": (lambda n, x: n.b(n.a(x).unfold(2, 3, 1).amax(-1)), nn.Conv2d(6, 2, 1), CHANNELS),
    "windows of rows and columns": (
        lambda n, x: n.b(n.a(x).unfold(2, 2, 2).unfold(-2, 2, 2).mean((-1, -2))),
        nn.Conv2d(6, 2, 1),
        CHANNELS,
    ),
    "diagonal of the picture": (lambda n, x: n.b(n.a(x).diagonal(dim1=2, dim2=3).mT), nn.Linear(6, 2), CHANNELS),
    "diagonal beside the main one": (lambda n, x: n.b(n.a(x).diagonal(1, 2, 3).mT), nn.Linear(6, 2), CHANNELS),
    "sampled": (lambda n, x: n.b(F.grid_sample(n.a(x), n.places, align_corners=False)), nn.Conv2d(6, 2, 1), CHANNELS),
    "sampled beyond the rim": (
        lambda n, x: n.b(F.grid_sample(n.a(x), 2 * n.places, "nearest", "border", align_corners=True)),
        nn.Conv2d(6, 2, 1),
        CHANNELS,
    ),
    "turned": (
        lambda n, x: n.b(F.grid_sample(h := n.a(x), F.affine_grid(n.turn, h.shape, False), align_corners=False)),
        nn.Conv2d(6, 2, 1),
        CHANNELS,
    ),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_channels_stay_as_they_are(name: str) -> None:
    forward, last, columns = BETWEEN[name]
    turn = torch.tensor([[0.8, -0.6, 0.1], [0.6, 0.8, 0.0]]).expand(2, 2, 3).clone()
    graph = hold(net(forward, last, places=PLACES, turn=turn))
    group = group_with(graph, "a.weight:0", "b.weight:1")
    assert held(group, "b.weight:1") == columns


def test_the_pixels_of_a_folded_channel_go_together() -> None:
    """Of 24 units and windows of two by two, each channel is made by four."""
    model = net(lambda n, x: n.b(F.fold(n.c(n.a(x)).flatten(2), (7, 7), 2)), nn.Conv2d(6, 2, 1), c=nn.Conv2d(6, 24, 1))
    graph = hold(model)
    assert held(group_with(graph, "c.weight:0"), "c.weight:0") == pixels(6, 4)
    assert held(group_with(graph, "c.weight:0"), "b.weight:1") == CHANNELS


def test_the_diagonal_of_products_of_channels_is_cut_on_both_sides() -> None:
    def forward(n: Any, x: Tensor) -> Tensor:
        h = n.a(x).flatten(2)
        return n.b((h @ h.mT).diagonal(dim1=1, dim2=2))

    graph = hold(net(forward, nn.Linear(6, 2)))
    assert held(group_with(graph, "a.weight:0"), "b.weight:1") == CHANNELS


REFUSED: dict[str, tuple[Forward, nn.Module, str]] = {
    "windows of channels": (
        lambda n, x: n.b(n.a(x).unfold(1, 2, 1).sum(-1)),
        nn.Conv2d(5, 2, 1),
        "windows slide over this axis",
    ),
    "channels as rows of a picture": (
        lambda n, x: n.b(F.unfold(n.a(x).transpose(1, 2), 2).mT),
        nn.Linear(24, 2),
        "windows slide over this axis",
    ),
    "channels against rows": (
        lambda n, x: n.b(n.a(x).diagonal(dim1=1, dim2=2)),
        nn.Linear(6, 2),
        "a dimension that a convolution slides over",
    ),
    "a diagonal of channels, not of a square": (
        lambda n, x: n.b(n.a(x)[:, :, :4].diagonal(dim1=1, dim2=2)),
        nn.Linear(4, 2),
        "a diagonal beside the main one, or of no square",
    ),
    "channels as windows": (
        lambda n, x: n.b(F.fold(n.a(x).flatten(2).mT.reshape(2, 36, 6), (3, 4), (2, 2))),
        nn.Conv2d(9, 2, 1),
        "windows slide over this axis",
    ),
    "places": (
        lambda n, x: n.b(F.grid_sample(x, n.a(x).flatten(2).mT.reshape(2, 36, 3, 2).tanh(), align_corners=False)),
        nn.Conv2d(3, 2, 1),
        "places to sample at",
    ),
    "a matrix of places": (
        lambda n, x: n.b(F.grid_sample(x, F.affine_grid(n.a(x).mean((2, 3)).view(2, 2, 3), x.shape), "nearest")),
        nn.Conv2d(3, 2, 1),
        "a matrix of places",
    ),
}


@pytest.mark.filterwarnings("ignore:Default grid_sample and affine_grid behavior")
@pytest.mark.parametrize("name", REFUSED)
def test_what_counts_places_is_refused(name: str) -> None:
    forward, last, reason = REFUSED[name]
    with pytest.raises(NothingToPrune) as told:
        nk.trace(net(forward, last), image())
    assert reason in str(told.value)


def test_a_rule_that_takes_pixels_for_copies_side_by_side_breaks_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channel by channel is not copy by copy: the planted fault has the other order."""

    def wrong(call: Call) -> None:
        batch, channels, *_ = call.labels(call["self"])
        assert isinstance(channels, Atoms)
        times = call.out.shape[-2] // channels.ids.size
        call.give(call.out, [batch, Atoms(np.tile(channels.ids, times), True), call.fixed("windows")])

    rules.find("im2col")
    monkeypatch.setitem(rules.RULES, "im2col", wrong)
    with pytest.raises(laws.LawBroken):
        hold(net(*BETWEEN["unfolded"][:2]))
