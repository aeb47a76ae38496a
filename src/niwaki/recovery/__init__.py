"""Which few units does a layer's output need? Sparse signal recovery, on plain tensors."""

from niwaki.recovery.pursuit import Look, pursue

__all__ = ["Look", "pursue"]
