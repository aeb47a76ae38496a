"""The processes that prune together. torch.distributed carries what they tell each other; nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from niwaki.errors import NiwakiError, RankFailed, RanksDiffer

KNOWN = "niwaki_all_ranks_know"
"""Set on an error of which all ranks have heard: those around it need not tell it again."""
Key = tuple[Any, ...]
"""Of plain numbers and strings: what a sum is of."""


@dataclass(frozen=True)
class Ranks:
    """The processes that prune one model together.

    Before every exchange all ranks tell each other whether they got that far, so that one that fails takes the others
    along in place of letting them wait.

    Attributes:
        group: a process group; None for a process that is alone.
    """

    group: Any = None

    @classmethod
    def here(cls) -> Ranks:
        """All processes of the default process group; this one alone where there is none."""
        together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        return cls(dist.group.WORLD if together else None)

    @classmethod
    def alone(cls) -> Ranks:
        """This process, whoever else there is."""
        return cls()

    @property
    def size(self) -> int:
        return 1 if self.group is None else dist.get_world_size(self.group)

    @property
    def rank(self) -> int:
        """The place of this process among them, from 0."""
        return 0 if self.group is None else dist.get_rank(self.group)

    @contextmanager
    def every(self, what: str) -> Iterator[None]:
        """What is done inside is done on all ranks: where one fails, all raise when they get here.

        Raises:
            RankFailed: on the ranks on which it went well. The others raise what they met.
        """
        if self.size == 1:
            yield
            return
        try:
            yield
        except Exception as trouble:
            if not getattr(trouble, KNOWN, False):
                setattr(trouble, KNOWN, True)
                self._meet(what, f"{type(trouble).__name__}: {trouble}")
            raise
        self._meet(what)

    def agree(self, what: str, fingerprint: str, why: Callable[[], str] = str) -> None:
        """All ranks have the same: ``fingerprint``, hexadecimal. ``why``: called on all of them where they have not, to
        say what may have caused it.

        Raises:
            RanksDiffer: on all ranks, with every fingerprint and the ranks that have it.
        """
        if self.size == 1:
            return
        found = self._meet(what, mark=fingerprint[:16])
        if len(set(found)) > 1:
            told = "; ".join(f"{mark} on {_named(_where(found, mark))}" for mark in dict.fromkeys(found))
            raise _known(RanksDiffer(f"{what} differs between ranks: {told}. {why()}".rstrip()))

    def summed(self, found: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
        """The sum over all ranks, key by key, in the type and on the device of each; what a rank lacks counts as zero.
        Keys come in ascending order, the same on every rank."""
        if self.size == 1:
            return dict(found)
        here = {json.dumps(key): (t, list(t.shape), str(t.dtype).removeprefix("torch.")) for key, t in found.items()}
        told = self.texts(json.dumps({text: [shape, dtype] for text, (_, shape, dtype) in here.items()}))
        wanted = {text: kind for each in told for text, kind in json.loads(each).items()}
        device = next((t.device for t in found.values()), self.device)
        sums: dict[Key, Tensor] = {}
        for text, (shape, dtype) in sorted(wanted.items()):
            mine = here[text][0] if text in here else torch.zeros(shape, dtype=getattr(torch, dtype), device=device)
            total = mine.detach().to(self.device, copy=True).contiguous()
            dist.all_reduce(total, group=self.group)
            sums[_tuple(json.loads(text))] = total.to(mine.device)
        return sums

    def from_first(self, tensors: Iterable[Tensor]) -> None:
        """In place: what the first rank has."""
        if self.size == 1:
            return
        source = dist.get_global_rank(self.group, 0)
        for t in tensors:
            there = t.detach().to(self.device).contiguous()
            dist.broadcast(there, source, group=self.group)
            t.detach().copy_(there)

    def texts(self, text: str) -> list[str]:
        """What every rank has to say, in the order of ranks."""
        if self.size == 1:
            return [text]
        data = torch.tensor(list(text.encode()), dtype=torch.uint8, device=self.device)
        sizes = [int(n) for n in self._gathered(torch.tensor([len(data)], device=self.device))]
        padded = torch.zeros(max(sizes), dtype=torch.uint8, device=self.device)
        padded[: len(data)] = data
        every = self._gathered(padded)
        return [bytes(t[:n].tolist()).decode() for t, n in zip(every, sizes, strict=True)]

    @property
    def device(self) -> torch.device:
        """Where tensors must be for these processes to exchange them."""
        if self.group is None or "cpu" in dist.get_backend_config(self.group):
            return torch.device("cpu")
        accelerator: Any = torch.accelerator
        return torch.device(accelerator.current_accelerator().type, accelerator.current_device_index())

    def _meet(self, what: str, trouble: str = "", mark: str = "") -> list[str]:
        """Every rank says whether it failed, and what it has; all exchanges begin so, and with the same few bytes.

        Raises:
            RankFailed: another rank failed, and this one did not.
        """
        mine = [int(bool(trouble)), int(mark[:8] or "0", 16), int(mark[8:16] or "0", 16)]
        every = [t.tolist() for t in self._gathered(torch.tensor(mine, device=self.device))]
        failed = [rank for rank, row in enumerate(every) if row[0]]
        if failed:
            told = self.texts(trouble)
            if not trouble:
                reasons = "; ".join(f"rank {rank}: {told[rank]}" for rank in failed)
                raise _known(RankFailed(f"{what} stops on all ranks, because it failed on {_named(failed)}. {reasons}"))
        return [f"{row[1]:08x}{row[2]:08x}" for row in every]

    def _gathered(self, mine: Tensor) -> list[Tensor]:
        every = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(every, mine, group=self.group)
        return every


def _known(trouble: NiwakiError) -> NiwakiError:
    setattr(trouble, KNOWN, True)
    return trouble


def _where(found: list[str], mark: str) -> list[int]:
    return [rank for rank, each in enumerate(found) if each == mark]


def _named(ranks: list[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


__all__ = ["Ranks"]
