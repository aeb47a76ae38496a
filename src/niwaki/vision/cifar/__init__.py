"""CIFAR-10 and CIFAR-100 from a local folder, in any of the forms in which they are passed on; nothing is unpickled."""

from niwaki.vision.cifar.reading import cifar10, cifar100

__all__ = ["cifar10", "cifar100"]
