"""What a layer itself takes in OpenVINO, without the changes of layout around it."""

from __future__ import annotations

import time
from typing import Any

_WARM = 2  # first calls, which fetch and pack
_LAYOUT = "Reorder"
_HALF = 5e-7  # of the microsecond that times are cut to


class Counted:
    """One layer, compiled by OpenVINO to count its own time, as a call without arguments.

    OpenVINO computes in layouts of its own: channels last, or in blocks. A layer that stands alone is given its inputs
    in the usual layout, and must give back its results in it; in a network only the ends do. For a depthwise
    convolution that change takes longer than the layer. So of a call's time the part counts that its products took.
    """

    def __init__(self, model: Any, array: Any) -> None:
        self._request, self._array = model.create_infer_request(), array
        self._calls, self._seconds = 0, 0.0
        self._before = (0, 0.0, 0.0)

    def __call__(self) -> Any:
        start = time.perf_counter()
        found = self._request.infer([self._array])
        self._seconds += time.perf_counter() - start
        self._calls += 1
        if self._calls == _WARM:
            self._before = (self._calls, self._seconds, self._own())
        return found

    @property
    def share(self) -> float:
        """Of all calls' time, but for the first ones', that of the layer itself; it was called at least once."""
        calls, seconds, own = self._before if self._calls > _WARM else (0, 0.0, 0.0)
        return max(self._own() - own, _HALF * (self._calls - calls)) / (self._seconds - seconds)

    def _own(self) -> float:
        """Seconds of all calls so far: OpenVINO tells the mean, cut to whole microseconds."""
        told = [node.real_time.total_seconds() for node in self._request.profiling_info if node.node_type != _LAYOUT]
        return self._calls * sum(t + _HALF for t in told if t > 0)


__all__ = ["Counted"]
