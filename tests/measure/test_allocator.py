"""What activations are said to take, against what torch's allocator handed out in a run that its profiler watched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import niwaki as nk
from niwaki.errors import BadInput


class Change(NamedTuple):
    """Bytes that were taken (or, negative, given back) at a place, inside which operation (0: between them)."""

    when: int
    place: int
    size: int
    operation: int


def changes(model: nn.Module, x: Tensor) -> list[Change]:
    with torch.inference_mode():
        model(x)  # what is packed once stays
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
            kept = model(x)
    del kept
    found: list[Change] = []
    for event in watched.profiler.kineto_results.experimental_event_tree():
        found += _inside(event, 0)
    return sorted(found)


def _inside(event: Any, operation: int) -> Iterator[Change]:
    if event.name == "[memory]":
        yield Change(event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size, operation)
    if not operation and event.name.startswith("aten::"):
        operation = event.id
    for child in event.children:
        yield from _inside(child, operation)


def most(found: list[Change]) -> int:
    now = peak = 0
    for change in found:
        now += change.size
        peak = max(peak, now)
    return peak


def without_scratch(found: list[Change]) -> list[Change]:
    """But for what an operation took and gave back before it ended."""
    taken: dict[int, int] = {}
    gone: set[int] = set()
    for k, change in enumerate(found):
        if change.size > 0:
            taken[change.place] = k
            continue
        first = taken.pop(change.place, None)
        if first is not None and change.operation and found[first].operation == change.operation:
            gone |= {first, k}
    return [change for k, change in enumerate(found) if k not in gone]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.LSTM(16, 32, batch_first=True), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.layer(x)[0])
        return found


NETWORKS: dict[str, tuple[nn.Module, Tensor, bool]] = {
    # the network, its input, and whether its kernels take memory for themselves
    "linear layers": (nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)), torch.ones(32, 64), False),
    "in place": (nn.Sequential(nn.Linear(64, 256), nn.ReLU(inplace=True), nn.Linear(256, 8)), torch.ones(8, 64), False),
    "convolutions": (
        nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        torch.ones(2, 3, 32, 32),
        True,
    ),
    "an LSTM": (Recurrent(), torch.ones(2, 5, 16), True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_allocator_says_the_same(name: str) -> None:
    """Exactly so, but for what kernels take for themselves: that is seen by the allocator alone."""
    model, x, own = NETWORKS[name]
    found = changes(model.eval(), x)
    ours = nk.measure.activations(model, x)
    assert most(without_scratch(found)) == ours
    assert (most(found) > ours) == own


def test_scratch_by_hand() -> None:
    """Operation 7 takes 100 and gives them back, and leaves 10; 8 takes 5, which are given back later."""
    told = [(1, 1, 100, 7), (2, 2, 10, 7), (3, 1, -100, 7), (4, 3, 5, 8), (5, 2, -10, 0), (6, 3, -5, 0)]
    found = [Change(*row) for row in told]
    assert most(found) == 110
    assert most(without_scratch(found)) == 15


def test_what_was_handed_out_is_counted_on_a_gpu_alone() -> None:
    with pytest.raises(BadInput, match="on CUDA alone, and the model is on cpu"):
        nk.measure.allocated(nn.Linear(4, 4), torch.ones(2, 4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_hands_out_what_activations_say_or_more() -> None:
    model, x = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)).cuda(), torch.ones(32, 64).cuda()
    assert nk.measure.activations(model, x) <= nk.measure.allocated(model, x) < 2**28
