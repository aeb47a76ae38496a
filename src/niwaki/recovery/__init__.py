"""Which few units does a layer's output need? Sparse signal recovery, on plain tensors."""

from niwaki.recovery.pursuit import Look, largest, pursue

__all__ = ["Look", "largest", "pursue"]
