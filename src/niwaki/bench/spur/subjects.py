"""What is pruned and how good it is: an encoder on a task, or a causal model on running text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.place import folder
from niwaki.text import answers, causal, files, language
from niwaki.text.batches import Batch, Tokens, tokenised, tokenizer
from niwaki.text.encoders import classifier
from niwaki.text.tasks import ROOM, Task

_APART = 7_919
LOWER = frozenset({"perplexity"})
"""Measures of which the smaller value is the better."""


class Parts(NamedTuple):
    """What is trained on, what factors are chosen on, what is reported."""

    train: Tokens
    held_out: Tokens
    reported: Tokens


class Subject(Protocol):
    """A model with its data.

    Attributes:
        name: of the data. model_name: of the model. measure: the one that counts. where: which matrices are pruned, a
            glob pattern. size: rows in a batch. settings: what results must agree on.
    """

    where: ClassVar[str]
    size: ClassVar[int]

    @property
    def name(self) -> str: ...
    @property
    def model_name(self) -> str: ...
    @property
    def measure(self) -> str: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...
    @property
    def parts(self) -> Parts: ...
    def model(self, seed: int) -> nn.Module: ...
    def loss(self, model: nn.Module, batch: Batch, bf16: bool | None) -> Tensor: ...
    def measured(self, model: nn.Module, tokens: Tokens) -> dict[str, float]: ...


@dataclass(frozen=True)
class Classified:
    """An encoder on a task.

    Attributes:
        encoder: the folder of a pretrained one. rows: use only so many of the training part. held_out: so many more of
            it, on which factors are chosen. max_length: tokens of a row.
    """

    task: Task
    encoder: Path
    rows: int | None = None
    held_out: int = 500
    max_length: int = 128
    where: ClassVar[str] = "*.layer.*"
    size: ClassVar[int] = 32

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def model_name(self) -> str:
        return self.encoder.name

    @property
    def measure(self) -> str:
        return self.task.metrics[0]

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"rows": self.rows, "held_out": self.held_out, "max_length": self.max_length}

    @cached_property
    def parts(self) -> Parts:
        tokens = partial(tokenised, tokenizer=tokenizer(self.encoder), max_length=self.max_length)
        train, held_out = _split(tokens(self.task.read("train")), self.rows, self.held_out, self.name)
        return Parts(train, held_out, tokens(self.task.read(self.task.reported)))

    def model(self, seed: int) -> nn.Module:
        return classifier(self.encoder, self.task.classes or 1, seed)

    def loss(self, model: nn.Module, batch: Batch, bf16: bool | None) -> Tensor:
        return answers.loss(model, batch, bf16)

    def measured(self, model: nn.Module, tokens: Tokens) -> dict[str, float]:
        return answers.measured(model, tokens, self.task.metrics)


@dataclass(frozen=True)
class Causal:
    """A causal model on running text, by perplexity.

    Attributes:
        folder: of a pretrained model with its tokenizer. train, reported: files of text. rows: use only so many windows
            of the text that is trained on. held_out: so many more of it. length: tokens in a window.
    """

    name: str
    folder: Path
    train: Path
    reported: Path
    rows: int | None = None
    held_out: int = 100
    length: int = 256
    where: ClassVar[str] = "*.layers.*"
    size: ClassVar[int] = 8
    measure: ClassVar[str] = "perplexity"

    @property
    def model_name(self) -> str:
        return self.folder.name

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"rows": self.rows, "held_out": self.held_out, "max_length": self.length, "size": self.size}

    @cached_property
    def parts(self) -> Parts:
        words = tokenizer(self.folder)
        train, reported = (causal.windows(language.ids(p, words), self.length) for p in (self.train, self.reported))
        return Parts(*_split(train, self.rows, self.held_out, self.name), reported)

    def model(self, seed: int) -> nn.Module:
        return causal.causal(self.folder)

    def loss(self, model: nn.Module, batch: Batch, bf16: bool | None) -> Tensor:
        return causal.loss(model, batch, bf16)

    def measured(self, model: nn.Module, tokens: Tokens) -> dict[str, float]:
        return {self.measure: language.perplexity(model, tokens.flat["input_ids"], self.length).value}


TEXTS = {"wikitext2": ("lm/wikitext2.valid.txt", "lm/wikitext2.test.txt")}
"""Running texts by name: what is trained on, and what is reported; below ``NIWAKI_DATA/text``. The training part of
WikiText-2 is not always to be had: its valid part, a tenth as long, stands in for it."""


def text(name: str, model: Path, rows: int | None = None) -> Causal:
    """A causal model on the text of that name.

    Raises:
        BadInput: a file is not there.
    """
    train, reported = (_found(folder(ROOM), stem) for stem in TEXTS[name])
    return Causal(name, model, train, reported, rows)


def _found(root: Path, stem: str) -> Path:
    for ending in ("", *files.UNPACK):
        if (path := root / f"{stem}{ending}").is_file():
            return path
    raise BadInput(f"There is no {stem} in {root}; put it there, plain or packed ({', '.join(files.UNPACK)}).")


def _split(whole: Tokens, rows: int | None, held_out: int, name: str) -> tuple[Tokens, Tokens]:
    """What is trained on, and what is held out; the same for every seed."""
    if len(whole) <= held_out:
        raise BadInput(f"{name} has {len(whole)} rows to train on, of which {held_out} are held out")
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(_APART))
    return _some(whole, order[held_out:][:rows]), _some(whole, order[:held_out])


def _some(tokens: Tokens, rows: Tensor) -> Tokens:
    """These rows, in this order."""
    lengths = tokens.lengths[rows]
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    at = torch.repeat_interleave(tokens.starts[rows] - starts[:-1], lengths) + torch.arange(int(starts[-1]))
    flat = {name: numbers[at] for name, numbers in tokens.flat.items()}
    return replace(tokens, flat=flat, starts=starts, labels=tokens.labels[rows])


__all__ = ["LOWER", "TEXTS", "Causal", "Classified", "Parts", "Subject", "text"]
