"""The user's batches, epoch after epoch, from the start or from where a checkpoint stands."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from niwaki.errors import BadInput
from niwaki.measure.size import batch_size
from niwaki.recipes import chance
from niwaki.recipes.borrowed import call
from niwaki.recipes.record import RunRecord

State = dict[str, Any]
_END = object()


class Meter:
    """Mean loss per epoch and images seen, for the record."""

    def __init__(self, record: RunRecord, phase: str, images: int = 0) -> None:
        self.record, self.phase, self.images, self.epoch = record, phase, images, 0
        self._losses: list[float] = []

    def add(self, loss: float, batch: Any) -> None:
        self._losses.append(loss)
        self.images += batch_size(batch)

    def end_epoch(self) -> None:
        """Write the epoch's row, if there was anything in it."""
        if self._losses:
            mean = sum(self._losses) / len(self._losses)
            self.record(
                {"event": "epoch", "phase": self.phase, "epoch": self.epoch, "images": self.images, "loss": mean}
            )
        self.epoch, self._losses = self.epoch + 1, []

    def state(self) -> State:
        return {"images": self.images, "epoch": self.epoch, "losses": list(self._losses)}

    def go_on(self, state: State) -> None:
        self.images, self.epoch, self._losses = state["images"], state["epoch"], list(state["losses"])


class Passes:
    """Iterates over ``batches`` again and again; an epoch ends in the meter.

    Attributes:
        epoch: the number of the epoch, the first being 0. done: how many of its batches were given.
    """

    def __init__(self, batches: Iterable[Any], meter: Meter, epochs: int | None = None) -> None:
        self.batches, self.meter, self.epochs = batches, meter, epochs
        self.epoch = self.done = 0
        self._start: chance.State = {}
        self._stand: State | None = None

    def __iter__(self) -> Iterator[Any]:
        while self.epochs is None or self.epoch < self.epochs:
            for batch in self._rest():
                self.done += 1
                yield batch
            self.meter.end_epoch()
            self.epoch, self.done = self.epoch + 1, 0

    def state(self) -> State:
        """From which :meth:`go_on` gives the same batches, and random numbers, as would have come now."""
        told = {"epoch": self.epoch, "done": self.done, "start": self._start, "now": chance.states()}
        return {**told, "meter": self.meter.state()}

    def go_on(self, state: State) -> None:
        """Go on from there; call it before the first batch is drawn."""
        self.epoch, self.done, self._stand = state["epoch"], state["done"], state
        self.meter.go_on(state["meter"])

    def _rest(self) -> Iterator[Any]:
        """What is left of this epoch. Nothing at all in a whole one is an error."""
        stand, self._stand = self._stand, None
        if stand is None:
            self._start = chance.states()
        found = self._opened() if stand is None else self._reopened(stand)
        empty = self.done == 0
        for batch in found:
            empty = False
            yield batch
        if empty:
            raise BadInput(
                f"data gave no batches in epoch {self.epoch + 1}. It is iterated once per epoch, and a generator is "
                "empty after the first: return a list, a DataLoader, or an object whose __iter__ starts anew."
            )

    def _opened(self) -> Iterator[Any]:
        """One epoch. A failure in the user's loader is told as theirs."""
        iterator = call("data", iter, self.batches)  # now, and not when the first batch is asked for

        def told() -> Iterator[Any]:
            while (batch := call("data", next, iterator, _END)) is not _END:
                yield batch

        return told()

    def _reopened(self, stand: State) -> Iterator[Any]:
        """The batches that this epoch had not given."""
        self._catch_up()
        self._start = stand["start"]
        chance.restore(self._start)
        batches: Any = self.batches
        if skips := type(getattr(batches, "skip", None)) is int:
            batches.skip = self.done
        found = self._opened()
        if not skips:
            _drop(islice(found, self.done))
        chance.restore(stand["now"])
        return found

    def _catch_up(self) -> None:
        """Bring a loader that knows how often it was drawn to this epoch."""
        batches: Any = self.batches
        if type(getattr(batches, "epoch", None)) is int:
            batches.epoch = self.epoch
        elif not _forgets(batches):
            for _ in range(self.epoch):
                _drop(self._opened())


def _forgets(batches: Any) -> bool:
    """Does each epoch of it depend on nothing but the process's generators?"""
    if not isinstance(batches, DataLoader):
        return isinstance(batches, (list, tuple))
    plain = type(batches.batch_sampler) is BatchSampler and type(batches.sampler) in (RandomSampler, SequentialSampler)
    return plain and batches.generator is None and getattr(batches.sampler, "generator", None) is None


def _drop(found: Iterable[Any]) -> None:
    deque(found, maxlen=0)


__all__ = ["Meter", "Passes"]
