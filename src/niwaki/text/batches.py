"""Texts as token numbers, tokenised once, and drawn in padded batches of like length."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from niwaki.errors import BadInput, require_extra
from niwaki.text.tables import Table

Batch = dict[str, Tensor]
_POOL = 50  # batches whose rows are sorted by length together: enough for little padding, few enough to mix


@dataclass(frozen=True, eq=False)
class Tokens:
    """Rows of token numbers, one after the other in one tensor for each input of the model.

    Attributes:
        flat: by input (input_ids, token_type_ids), int64, as many as all rows have tokens.
        starts: int64, rows + 1: where each row begins, and where the last one ends.
        labels: int64 (classes) or float32 (scores), rows.
        padding: by input, what fills up a short row; the attention mask leaves it out.
        left: short rows are filled up at their beginning, as some tokenizers have it (XLNet's), and not at their end.
    """

    flat: dict[str, Tensor]
    starts: Tensor
    labels: Tensor
    padding: dict[str, int]
    left: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> Tensor:
        """Tokens in each row, int64."""
        return self.starts.diff()

    def batch(self, rows: Tensor) -> Batch:
        """These rows, padded to the longest: each input and ``attention_mask`` are int64, rows x tokens."""
        lengths = self.lengths[rows]
        longest = int(lengths.max())
        places = torch.arange(longest, device=rows.device).expand(len(rows), -1)
        if self.left:
            places = places - (longest - lengths)[:, None]
        there = (places >= 0) & (places < lengths[:, None])
        # Outside of a row any place will do: it is overwritten.
        at = (self.starts[rows, None] + places).clamp_(0, int(self.starts[-1]) - 1)
        inputs = {name: flat[at].masked_fill_(~there, self.padding[name]) for name, flat in self.flat.items()}
        return {**inputs, "attention_mask": there.long(), "labels": self.labels[rows]}

    def to(self, device: torch.device | str) -> Tokens:
        """The same on that device."""
        flat = {name: tensor.to(device) for name, tensor in self.flat.items()}
        return replace(self, flat=flat, starts=self.starts.to(device), labels=self.labels.to(device))

    def rows(self, most: int) -> Tokens:
        """The first rows, at most so many."""
        starts = self.starts[: most + 1]
        flat = {name: tensor[: int(starts[-1])] for name, tensor in self.flat.items()}
        return replace(self, flat=flat, starts=starts, labels=self.labels[:most])

    def digest(self) -> str:
        """Of the numbers, where rows begin, and the labels: of other data it is another."""
        found = hashlib.sha256()
        for name, tensor in (*sorted(self.flat.items()), ("starts", self.starts), ("labels", self.labels)):
            found.update(f"{name} {tensor.dtype} {len(tensor)} ".encode())
            found.update(tensor.cpu().contiguous().numpy().data)
        return found.hexdigest()


def tokenizer(folder: str | os.PathLike[str]) -> Any:
    """The tokenizer in a local folder of Hugging Face's form. Nothing is downloaded, and no code in it is run.

    Raises:
        BadInput: there is no such folder, or no tokenizer in it. MissingExtra: transformers is not installed.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise require_extra("transformers", "hf") from None
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise BadInput(f"There is no folder {place}; name one that holds a tokenizer (tokenizer.json).")
    try:
        return AutoTokenizer.from_pretrained(str(place), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{place} holds no tokenizer that can be read ({error}); tokenizer.json is due.") from error


def tokenised(table: Table, tokenizer: Any, max_length: int = 128) -> Tokens:
    """The table's rows as token numbers.

    Args:
        tokenizer: of Hugging Face's kind. max_length: tokens of a row at most, special ones included, and no more than
            the tokenizer says that its encoder takes (``model_max_length``); of a pair the longer text is cut first.

    Raises:
        BadInput: the table is empty, a row has no tokens, or the tokenizer has no token to pad with.
    """
    if not len(table):
        raise BadInput("The table has no rows to tokenise.")
    if tokenizer.pad_token_id is None:
        raise BadInput("The tokenizer has no token to pad with; give it one: tokenizer.pad_token = tokenizer.eos_token")
    second = () if table.pairs is None else (list(table.pairs),)
    most = min(max_length, tokenizer.model_max_length)
    found = tokenizer(list(table.texts), *second, truncation=True, max_length=most, return_attention_mask=False)
    empty = next((row for row, ids in enumerate(found["input_ids"], start=1) if not ids), None)
    if empty is not None:
        raise BadInput(f"Row {empty} of the table has no tokens: {table.texts[empty - 1]!r}. Take it out, or fill it.")
    names = [name for name in found if name in tokenizer.model_input_names]
    padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    strange = [name for name in names if name not in padding]
    if strange:
        raise BadInput(f"The tokenizer gives {', '.join(strange)}, which it is not known here how to pad.")
    flat = {name: torch.tensor([token for row in found[name] for token in row], dtype=torch.int64) for name in names}
    starts = torch.tensor([0, *map(len, found["input_ids"])]).cumsum(0)
    labels = torch.tensor(table.labels, dtype=torch.float32 if table.scored else torch.int64)
    return Tokens(flat, starts, labels, {name: padding[name] for name in names}, tokenizer.padding_side == "left")


class Batches:
    """Padded batches of like length (dicts with ``labels``), drawn anew each time one iterates.

    Rows are shuffled, sorted by length in pools of fifty batches, and the batches shuffled, so that little is padded
    and each epoch mixes anew. An epoch depends on ``seed + epoch`` alone, and not on the device. ``epoch`` is the
    number of the next epoch: it goes up by one with each iteration, and may be set to go back or to resume; ``skip`` is
    how many batches the next iteration (that one alone) leaves out at its start.

    Args:
        tokens: of `tokenised`.
        size: rows in a batch; the last of an epoch may have fewer.
        seed: of the order.
        device: where the batches are made; by default, where the tokens are.

    Raises:
        BadInput: the size is below 1, or there is no row.
    """

    def __init__(
        self, tokens: Tokens, size: int = 32, seed: int = 0, *, device: torch.device | str | None = None
    ) -> None:
        if size < 1 or not len(tokens):
            raise BadInput(f"A batch of {size} cannot be drawn from {len(tokens)} rows.")
        self.tokens = tokens if device is None else tokens.to(device)
        self.size, self.seed = size, seed
        self.epoch = self.skip = 0
        self._lengths = self.tokens.lengths.cpu()

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-len(self.tokens) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        chosen = self._order(torch.Generator().manual_seed(self.seed + self.epoch))[self.skip :]
        self.epoch, self.skip = self.epoch + 1, 0
        return (self.tokens.batch(rows.to(self.tokens.labels.device)) for rows in chosen)

    def _order(self, generator: torch.Generator) -> list[Tensor]:
        """The rows of each batch of an epoch."""
        shuffled = torch.randperm(len(self.tokens), generator=generator)
        pools = (self._sorted(pool) for pool in shuffled.split(_POOL * self.size))
        found = [batch for pool in pools for batch in pool.split(self.size)]
        return [found[k] for k in torch.randperm(len(found), generator=generator).tolist()]

    def _sorted(self, rows: Tensor) -> Tensor:
        return rows[self._lengths[rows].argsort(stable=True)]


def by_length(tokens: Tokens, size: int) -> Sequence[Tensor]:
    """All rows once, the longest first (so that what does not fit into memory shows at once), split into batches."""
    return tokens.lengths.argsort(descending=True, stable=True).split(size)


__all__ = ["Batch", "Batches", "Tokens", "by_length", "tokenised", "tokenizer"]
