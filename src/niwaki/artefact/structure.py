"""The arguments of a call as JSON, and its tensors by name beside it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from niwaki.errors import BadInput

Tensors = dict[str, Tensor]


def packed(value: Any, name: str, tensors: Tensors) -> Any:
    """``value`` as JSON; its tensors are put into ``tensors`` under names that begin with ``name``.

    Raises:
        BadInput: it holds something else than tensors, plain values, lists, tuples and dicts of such.
    """
    if isinstance(value, Tensor):
        while name in tensors:  # a.b is a key, and b one of a: both are called so
            name += "'"
        tensors[name] = value
        return {"tensor": name}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):  # a model may ask for fields by name
        items = [packed(item, f"{name}.{k}", tensors) for k, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: packed(item, f"{name}.{key}", tensors) for key, item in value.items()}}
    raise BadInput(
        f"examples hold tensors and plain values in lists, tuples and dicts; the inputs hold a {type(value).__name__}. "
        "Give other inputs, or None for a folder without examples"
    )


def unpacked(data: Any, tensors: Tensors) -> Any:
    """What :func:`packed` was given.

    Raises:
        KeyError, TypeError, ValueError: the data is something else, or names a tensor that is not there.
    """
    if not isinstance(data, dict) or len(data) != 1:
        raise ValueError(f"expected an object with one key, found {data!r:.60}")
    ((kind, content),) = data.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "value" and (content is None or isinstance(content, (bool, int, float, str))):
        return content
    if kind in ("list", "tuple") and isinstance(content, list):
        items = [unpacked(item, tensors) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict" and isinstance(content, dict):
        return {key: unpacked(item, tensors) for key, item in content.items()}
    raise ValueError(f"{kind!r} holds {content!r:.60}")


__all__ = ["Tensors", "packed", "unpacked"]
