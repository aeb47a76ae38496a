"""Perplexity of a causal language model on running text, and windows of text to calibrate a method on."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.errors import BadInput
from niwaki.modes import evaluating
from niwaki.place import bf16_pays
from niwaki.text import files
from niwaki.text.batches import Batch


@dataclass(frozen=True)
class Perplexity:
    """How surprised a model is by a text.

    Attributes:
        nats: the surprise, the sum of ``-ln p`` over the predicted tokens. tokens: how many were predicted.
    """

    nats: float
    tokens: int

    @property
    def value(self) -> float:
        """Perplexity per token: ``exp(nats / tokens)``, at least 1. Tokenizers that cut text otherwise cannot be
        compared by it. Infinite where it is too large for a float."""
        try:
            return math.exp(self.nats / self.tokens)
        except OverflowError:
            return math.inf


def ids(path: str | os.PathLike[str], tokenizer: Any) -> Tensor:
    """The token numbers of a whole text file (UTF-8; also .gz, .xz, .bz2) as one row: int64, tokens.

    The text is one piece, line breaks and all, with the special tokens that the tokenizer sets around a text.

    Raises:
        BadInput: there is no such file, it is empty, or not UTF-8.
    """
    text = files.text(Path(path))
    if not text.strip():
        raise BadInput(f"{path} is empty: there is no text in it.")
    # Not verbose: the row is longer than the model's context on purpose; it is cut into windows afterwards.
    return torch.tensor(tokenizer(text, verbose=False)["input_ids"])


def perplexity(
    model: nn.Module, ids: Tensor, length: int, stride: int | None = None, size: int = 4, bf16: bool | None = False
) -> Perplexity:
    """Perplexity of a causal model on one row of tokens, in evaluation mode; the modes are put back.

    Without a stride: disjoint windows of ``length`` over the whole row; what is left over at the end is dropped, and
    the first token of each window is not predicted. This is what papers on pruning language models report (SparseGPT,
    Wanda). With one: windows that begin every ``stride`` tokens, the last one shorter; each token is predicted once, in
    the first window that holds it, with at least ``length - stride`` tokens before it (but for the first window).

    Args:
        model: of Hugging Face's kind: takes ``input_ids``, gives ``logits``, rows x tokens x vocabulary.
        ids: int64, tokens. length: tokens in a window, at least 2, at most the model's context.
        stride: at least 1, at most ``length``.
        size: windows in a batch; it changes the speed, and the result by rounding only.
        bf16: compute products in bfloat16; None: where the device has it in hardware.

    Raises:
        BadInput: fewer tokens than a window, lengths out of range, or a model that gives NaN.
    """
    if length < 2 or not 1 <= (length if stride is None else stride) <= length or size < 1:
        raise BadInput(f"A window has at least 2 tokens, and a stride of 1 to all of them; got {length} and {stride}.")
    _require(ids, length if stride is None else 2)
    home = next(model.parameters(), torch.zeros(())).device
    nats, count = 0.0, 0
    # No inference mode: tables that the model makes and keeps could not be trained through.
    with torch.no_grad(), evaluating(model):
        for windows, fresh in _batched(ids, _spans(len(ids), length, stride), size):
            nats += _nats(model, windows.to(home), fresh, bf16)
            count += windows[:, fresh:].numel()
    if math.isnan(nats):
        raise BadInput("The model gives NaN; nothing can be said of its predictions. Has it diverged?")
    return Perplexity(nats, count)


def disjoint(ids: Tensor, length: int) -> Tensor:
    """Windows of ``length`` one after the other, windows x length; what is left over at the end is dropped.

    Raises:
        BadInput: there are fewer tokens than that.
    """
    _require(ids, length)
    count = len(ids) // length
    return ids[: count * length].view(count, length)


def calibration(ids: Tensor, length: int, count: int, seed: int = 0, size: int = 8) -> list[Batch]:
    """Random windows of a text, such as the valid part of WikiText-2, to calibrate a method on: dicts with
    ``input_ids`` and ``attention_mask``, int64, rows x length.

    Args:
        length: tokens in a window. count: windows in all; they may overlap. seed: of where they begin. size: windows in
            a batch; the last may have fewer.

    Raises:
        BadInput: fewer tokens than a window, or no window is asked for.
    """
    _require(ids, length)
    if count < 1 or size < 1:
        raise BadInput(f"At least one window is due, in batches of at least one; got {count} and {size}.")
    starts = torch.randint(len(ids) - length + 1, (count, 1), generator=torch.Generator().manual_seed(seed))
    windows = ids[starts + torch.arange(length)]
    return [{"input_ids": part, "attention_mask": torch.ones_like(part)} for part in windows.split(size)]


def _spans(tokens: int, length: int, stride: int | None) -> list[tuple[int, int, int]]:
    """Start and end of each window, and the first place in it that no window before has predicted; never place 0."""
    if stride is None:
        return [(start, start + length, 1) for start in range(0, tokens - length + 1, length)]
    found, done = [], 1
    for start in range(0, tokens, stride):
        end = min(start + length, tokens)
        # Where windows do not overlap, the first token of each has nothing before it to be predicted from.
        fresh = max(done - start, 1)
        if end - start > fresh:
            found.append((start, end, fresh))
        done = end
        if end == tokens:
            break
    return found


def _batched(ids: Tensor, spans: list[tuple[int, int, int]], size: int) -> Iterator[tuple[Tensor, int]]:
    """Neighbours of one shape together: windows, and the first place in them that counts."""
    for (width, fresh), group in groupby(spans, lambda span: (span[1] - span[0], span[2])):
        windows = torch.stack([ids[start : start + width] for start, _, _ in group])
        yield from ((part, fresh) for part in windows.split(size))


def _nats(model: nn.Module, windows: Tensor, fresh: int, bf16: bool | None) -> float:
    """The surprise at the tokens of the windows from place ``fresh`` on."""
    kind = windows.device.type
    with torch.autocast(kind, torch.bfloat16, enabled=bf16_pays(kind) if bf16 is None else bf16):
        logits = model(input_ids=windows)["logits"]
    told = logits[:, fresh - 1 : -1].flatten(0, 1).float()
    # In float64: a sum over a whole text in float32 would lose digits.
    return float(F.cross_entropy(told, windows[:, fresh:].flatten(), reduction="none").double().sum())


def _require(ids: Tensor, length: int) -> None:
    if ids.ndim != 1 or ids.dtype != torch.int64:
        raise BadInput(f"Tokens are an int64 tensor of one dimension, not {ids.dtype} of {tuple(ids.shape)}.")
    if not 1 <= length <= len(ids):
        raise BadInput(f"A window of {length} cannot be cut out of {len(ids)} tokens; ask for a shorter one.")


__all__ = ["Perplexity", "calibration", "disjoint", "ids", "perplexity"]
