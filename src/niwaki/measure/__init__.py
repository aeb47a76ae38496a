"""How big, how much work, how fast: before and after, on this device and runtime."""

from niwaki.measure.runtimes import RUNTIMES
from niwaki.measure.size import file_bytes, macs, memory, params
from niwaki.measure.speed import Timing, interleaved, latency

__all__ = ["RUNTIMES", "Timing", "file_bytes", "interleaved", "latency", "macs", "memory", "params"]
