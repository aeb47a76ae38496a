"""Of a call of OpenVINO, the share that the layer itself took; what it tells is given here, by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import pytest

from niwaki.forecast import counted, timing
from niwaki.forecast.counted import Counted
from niwaki.forecast.timing import IDLE, in_turns


class Node(NamedTuple):
    node_type: str
    real_time: timedelta


class Request:
    """The first call takes 1 s, all others 10 ms: 2 ms of them the layer's, the rest changes of layout. It tells the
    mean of all calls, as OpenVINO does."""

    def __init__(self, clock: list[float]) -> None:
        self.clock, self.calls = clock, 0

    def create_infer_request(self) -> Request:
        return self

    def infer(self, inputs: list[str]) -> list[str]:
        self.clock[0] += 0.01 if self.calls else 1.0
        self.calls += 1
        return inputs

    @property
    def profiling_info(self) -> list[Node]:
        layer = (0.5 + 0.002 * (self.calls - 1)) / self.calls
        rest = timedelta(milliseconds=8)
        return [
            Node("Reorder", rest),
            Node("Convolution", timedelta(microseconds=int(1e6 * layer))),
            Node("Result", timedelta(0)),
        ]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found = [0.0]
    monkeypatch.setattr(counted.time, "perf_counter", lambda: found[0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: found[0])
    return found


def test_a_share_without_layouts_and_first_calls(clock: list[float]) -> None:
    call = Counted(Request(clock), "x")
    for _ in range(50):
        assert call() == ["x"]
    assert call.share == pytest.approx(0.2, abs=0.01)


def test_one_call_is_a_share_too(clock: list[float]) -> None:
    call = Counted(Request(clock), "x")
    call()
    assert call.share == pytest.approx(0.5, abs=0.01)


def test_layers_that_count_are_timed_by_their_share(clock: list[float]) -> None:
    """10 ms a call, of which 2 are the layer's."""
    assert in_turns({IDLE: Counted(Request(clock), "x")})[IDLE] == pytest.approx(2.0, rel=0.1)


def test_less_than_can_be_told_is_a_little(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a microsecond of each call of 10 ms, and never nothing."""
    monkeypatch.setattr(Request, "profiling_info", [])
    call = Counted(Request(clock), "x")
    for _ in range(5):
        call()
    assert call.share == pytest.approx(5e-7 / 0.01)
