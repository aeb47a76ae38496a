"""Functions that recipes name: an encoder with a head, the batches of a task, the loss, the score.

A task is a name, of data that lie below the folder text of ``NIWAKI_DATA``, or told in full, as
`niwaki.text.own.task_of` takes it. Everything is computed on ``NIWAKI_DEVICE``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from niwaki.errors import BadInput
from niwaki.place import DATA, device
from niwaki.text import answers, encoders
from niwaki.text.answers import loss
from niwaki.text.batches import Batches, Tokens, tokenised, tokenizer
from niwaki.text.metrics import TITLES
from niwaki.text.own import task_of
from niwaki.text.tasks import Task

Asked = str | Mapping[str, Any]
"""A task, as `niwaki.text.own.task_of` takes it."""

_APART = 10_007  # between the seeds of two runs, so that one's later epochs are not the other's first


def classifier(encoder: str, task: Asked, seed: int = 0) -> nn.Module:
    """An encoder with a head for a task, on the device.

    Args:
        encoder: a local folder of Hugging Face's form; a relative one is looked for in the current directory, then in
            ``NIWAKI_DATA``. task: a name, or what a task is. seed: of a head that the folder has no weights for.

    Raises:
        BadInput: there is no such folder or task, or they do not fit.
    """
    return encoders.classifier(_place(encoder), task_of(task).classes or 1, seed).to(device())


def batches(
    task: Asked, encoder: str, part: str = "train", size: int = 32, max_length: int = 128, seed: int = 0
) -> Batches:
    """Batches of a part of a task, in an order that changes by epoch.

    Args:
        encoder: whose tokenizer is taken. size: rows in a batch. max_length: tokens of a row at most.
    """
    return Batches(tokens(task, encoder, part, max_length), size, seed * _APART)


def score(
    model: nn.Module,
    task: Asked,
    encoder: str,
    part: str | None = None,
    metric: str | None = None,
    max_length: int = 128,
    size: int = 64,
) -> float:
    """How good the model is on a part, by default the one that figures are reported on: 0 to 1. A correlation below 0
    is told as 0.

    Args:
        metric: by default the task's first. Others as for `batches`; size changes the speed only.

    Raises:
        BadInput: no such measure, or it is of other labels than the task's.
    """
    job = task_of(task)
    name = metric or job.metrics[0]
    job.require(name)
    rows = tokens(task, encoder, part or job.reported, max_length)
    return max(0.0, answers.measured(model, rows, [name], size)[name])


def measure_name(task: Asked, metric: str | None = None, **rest: Any) -> str:
    """What `score` gives with these settings, as tables and figures call it."""
    name = metric or task_of(task).metrics[0]
    return TITLES.get(name, name)


vars(score)["measure_name"] = measure_name  # where a run looks for the name of what it is given


def tokens(task: Asked, encoder: str, part: str, max_length: int = 128) -> Tokens:
    """A part of a task as token numbers on the device; read and tokenised once."""
    return _tokens(task_of(task), _place(encoder), part, max_length, os.environ.get(DATA), str(device()))


@cache
def _tokens(task: Task, encoder: Path, part: str, max_length: int, root: str | None, home: str) -> Tokens:
    return tokenised(task.read(part), tokenizer(encoder), max_length).to(home)


def _place(encoder: str) -> Path:
    here = Path(encoder).expanduser()
    there = Path(os.environ.get(DATA) or ".").expanduser() / encoder
    for place in (here, there):
        if place.is_dir():
            return place.resolve()
    raise BadInput(f"There is no folder {here} nor {there}; name the encoder's, or put it there.")


__all__ = ["batches", "classifier", "loss", "measure_name", "score", "tokens"]
