"""A batch with which the model cannot be called: what it is, beside what the model was traced with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from niwaki.calibration.batches import Batch, read
from niwaki.errors import BadInput, NiwakiError
from niwaki.graph.observe import Inputs, tensors_of


@contextmanager
def told_of(batch: Batch, inputs: Inputs, which: str) -> Iterator[None]:
    """Inside, the model is called with a batch: where that fails, the error tells what the batch was.

    Raises:
        BadInput: it failed.
    """
    try:
        yield
    except (NiwakiError, torch.OutOfMemoryError):
        raise
    except (TypeError, RuntimeError, IndexError, KeyError, ValueError) as trouble:
        shown = read(inputs, inputs)
        if _form(batch) == _form(shown):
            raise  # whatever it is, it is not the batch's form
        raise BadInput(
            f"the model cannot be called with {which} of data: {type(trouble).__name__}: {trouble}\n"
            f"The batch is {_told(batch)}; inputs, with which the model was traced, is {_told(shown)}. Give batches of "
            "the same form and types, with nothing beside but labels (as the last entry of a tuple)."
        ) from trouble


def _form(batch: Batch) -> list[Any]:
    """Names, types and shapes but for the number of samples."""
    names = sorted(batch.kwargs)
    found = [tensors_of(value) for value in (*batch.args, *(batch.kwargs[name] for name in names))]
    return [names, *([(t.dtype, t.shape[1:]) for t in each] for each in found)]


def _told(batch: Batch) -> str:
    """The arguments of a call, with shapes and types."""

    def one(value: Any) -> str:
        if isinstance(value, Tensor):
            return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
        if isinstance(value, (list, tuple)):
            return f"({', '.join(map(one, value))})"
        return type(value).__name__

    return ", ".join([*map(one, batch.args), *(f"{name}={one(value)}" for name, value in batch.kwargs.items())])


__all__ = ["told_of"]
