"""The shipped kit: laws that every model, op rule and method must keep, and a zoo of small networks to hold them on."""

from niwaki.testing import laws, zoo

__all__ = ["laws", "zoo"]
