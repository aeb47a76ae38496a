"""How big, how much work, how fast: before and after, on this device and runtime."""

from niwaki.measure.activations import activations, allocated, peak_memory
from niwaki.measure.hardware import Conditions
from niwaki.measure.runtimes import RUNTIMES
from niwaki.measure.size import file_bytes, macs, memory, params
from niwaki.measure.speed import Timing, interleaved, latency

__all__ = [
    "RUNTIMES",
    "Conditions",
    "Timing",
    "activations",
    "allocated",
    "file_bytes",
    "interleaved",
    "latency",
    "macs",
    "memory",
    "params",
    "peak_memory",
]
