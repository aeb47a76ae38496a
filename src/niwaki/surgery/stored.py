"""The weights of a model that lie elsewhere, under the names that the model gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from niwaki.errors import BadInput, nearest


class Stored(Mapping[str, Tensor]):
    """A model's tensors by name, each taken from where it is stored when it is asked for.

    Args:
        weights: what is stored: of what is shared under any of its names. own: the model's tensors, on any device;
            of what is not stored (tables that the class computes) these, if they have values.
        aliases: other names of shared tensors, to the first.

    Raises:
        BadInput: a stored tensor has another shape than the model's; a parameter is not stored; something is stored
            that the model does not have. The message names the first.
    """

    def __init__(self, weights: Mapping[str, Tensor], own: Mapping[str, Tensor], aliases: Mapping[str, str]) -> None:
        self._weights, self._own = weights, own
        self._where = {aliases.get(name, name): name for name in reversed(list(weights))}
        for name, t in own.items():
            self._check(name, t)
        extra = next((stored for name, stored in self._where.items() if name not in own), None)
        if extra is not None:
            raise BadInput(
                f"{extra!r} is stored, and the model has no such tensor{nearest(extra, own)}. Are these weights of "
                "another class, or in a form that their class converts when it reads them? Then load them once and "
                "save them again."
            )

    def _check(self, name: str, t: Tensor) -> None:
        where = self._where.get(name)
        if where is None:
            if t.is_meta and t.requires_grad:
                raise BadInput(f"the model's {name!r} is not among the weights{nearest(name, self._where)}")
            return
        shape = tuple(self._weights[where].shape)
        if shape != tuple(t.shape):
            raise BadInput(f"{where!r} is stored with shape {shape}, the model's has {tuple(t.shape)}")

    def is_stored(self, name: str) -> bool:
        """Is it among the weights, or only in the model?"""
        return name in self._where

    def __getitem__(self, name: str) -> Tensor:
        where = self._where.get(name)
        return self._own[name] if where is None else self._weights[where]

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)


__all__ = ["Stored"]
