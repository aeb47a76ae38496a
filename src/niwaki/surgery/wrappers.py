"""Models inside models, which lie on a lower floor: exports take wrappers off too."""

from niwaki.wrappers import bare, uncompiled, unwrapped

__all__ = ["bare", "uncompiled", "unwrapped"]
