"""The user's batches, read as the model is called, and drawn up to a number of samples."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.data import Dataset, IterableDataset

from niwaki.errors import BadInput
from niwaki.graph.observe import Inputs, call_arguments, tensors_of

END = object()
"""What no batch is: the data has come to its end."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The arguments of one call, how many samples they hold (dimension 0 of the first tensor), and the batch as it was
    given: a loss may want its labels."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    size: int
    given: Any = None

    def first(self, count: int, shared: Collection[int] = ()) -> Batch:
        """The first so many samples: of every tensor as long as the batch, but for those that its samples share
        (``shared``: their identities)."""

        def cut(leaf: Any) -> Any:
            long = isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.shape[0] == self.size
            return leaf[:count] if long and id(leaf) not in shared else leaf

        args, kwargs, given = _over(cut, (self.args, self.kwargs, self.given))
        return Batch(args, kwargs, min(self.size, count), given)

    def to(self, device: torch.device, copy: bool = False) -> Batch:
        """The same on another device; ``copy``: in memory of its own even if it is there already."""
        args, kwargs, given = _over(
            lambda t: t.to(device, copy=copy) if isinstance(t, Tensor) else t, (self.args, self.kwargs, self.given)
        )
        return Batch(args, kwargs, self.size, given)


def read(batch: Any, inputs: Inputs) -> Batch:
    """A batch as arguments of the model.

    A tensor is the one argument, a dict holds keywords. Of a tuple or list the first so many are the positional
    arguments as ``inputs`` has, and one more is labels, which no layer sees; so a pair of images and labels is read
    rightly where ``inputs`` is one tensor, and a pair of a dict and labels too.

    Raises:
        BadInput: neither, or not as many as ``inputs`` has.
    """
    called = batch
    if isinstance(batch, (list, tuple)):
        positional = isinstance(inputs, (list, tuple))
        wanted = len(inputs) if positional else 1
        if not positional and len(_tensor_keywords(inputs)) > 1 and not _has_keywords(batch):
            raise BadInput(
                f"inputs has the keywords {', '.join(_tensor_keywords(inputs))}, and a batch of data is a "
                f"{type(batch).__name__} of {len(batch)}, of which nobody can tell what is what: give dicts with these "
                "keywords, or pairs of such a dict and labels"
            )
        if not wanted <= len(batch) <= wanted + 1:
            raise BadInput(
                f"a batch of data has {len(batch)} entries, and inputs has {wanted}: give those, or those and labels"
            )
        called = tuple(batch[:wanted]) if positional or not isinstance(batch[0], Mapping) else batch[0]
    elif not isinstance(batch, (Tensor, Mapping)):
        raise BadInput(
            f"a batch of data must be a tensor, a tuple (inputs, labels) or a dict of keywords, not "
            f"{type(batch).__name__}"
        )
    args, kwargs = call_arguments(called)
    first = next((t for t in tensors_of((args, kwargs)) if t.dim() > 0), None)
    if first is None:
        raise BadInput("a batch of data holds no tensor with a dimension of samples")
    return Batch(args, kwargs, int(first.shape[0]), batch)


def _tensor_keywords(inputs: Inputs) -> list[str]:
    if not isinstance(inputs, Mapping):
        return []
    return [str(name) for name, value in inputs.items() if next(tensors_of(value), None) is not None]


def _has_keywords(batch: Sequence[Any]) -> bool:
    return bool(batch) and isinstance(batch[0], Mapping)


class Source:
    """Where batches come from: an iterable that may be iterated again, or once.

    Args:
        data: as :func:`niwaki.prune` takes it. inputs: as the model is called with when it is traced.

    Raises:
        BadInput: it is no iterable of batches.
    """

    def __init__(self, data: Iterable[Any], inputs: Inputs) -> None:
        if isinstance(data, (Tensor, Mapping, str)) or not isinstance(data, Iterable) or _gives_samples(data):
            raise BadInput(f"data must be an iterable of batches, not one {type(data).__name__}: {_advice(data)}")
        self.data, self.inputs = data, inputs
        self.drawn = 0  # batches taken by `next_samples` so far
        self._iterator: Iterator[Any] | None = None
        self._before = 0  # of them before this pass over the data
        self._began: Tensor | None = None  # the process's random state when this pass began,
        self._opened: Tensor | None = None  # and the same if the data draw from it
        self._read_once = False  # the data has been begun, and cannot begin again

    def samples(self, count: int) -> Iterator[Batch]:
        """The first ``count`` samples, from the beginning; fewer if there are no more.

        Raises:
            BadInput: they were read already, and the data can be read once.
        """
        if self._read_once:
            raise BadInput(
                f"the first {count} samples of data are to be read, and data, a {type(self.data).__name__}, can be "
                "read once and has been: what is left of it are other samples, or none. Give a list, a DataLoader, or "
                "an object whose __iter__ starts anew"
            )
        yield from self._cut(self._begin(), count)

    def next_samples(self, count: int) -> Iterator[Batch]:
        """The next ``count`` samples, from the beginning again where the data ends; fewer where a whole pass over the
        data lies among them: one more would bring the same again."""
        yield from self._cut(self._endless(one_pass=True), count)

    def state_dict(self) -> dict[str, Any]:
        """From which :meth:`load_state_dict` goes on with the same batches."""
        return {"drawn": self.drawn, "before": self._before, "opened": self._opened}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Draw as many batches as had been drawn, this pass from the random state in which it began; the process's own
        is left as it is."""
        endless, now = self._endless(), torch.get_rng_state()
        while self.drawn < state["before"]:
            next(endless)
        if self.drawn < state["drawn"] and state["opened"] is not None:
            self._iterator = None
            torch.set_rng_state(state["opened"])
        while self.drawn < state["drawn"]:
            next(endless)
        torch.set_rng_state(now)

    def _cut(self, batches: Iterator[Any], count: int) -> Iterator[Batch]:
        found = 0
        while found < count and (given := next(batches, END)) is not END:
            batch = read(given, self.inputs)
            if batch.size:
                yield batch if batch.size <= count - found else batch.first(count - found, self._shared(batch))
            found += batch.size
        if not found:
            raise BadInput(
                "data gave no samples. A generator is empty after its first use: give a list, a DataLoader, or an "
                "object whose __iter__ starts anew"
            )

    def _shared(self, batch: Batch) -> set[int]:
        """Tensors that are no longer than they are in ``inputs``, which has another number of samples: they belong to
        all of them."""
        shown, mine = read(self.inputs, self.inputs), list(tensors_of((batch.args, batch.kwargs)))
        theirs = list(tensors_of((shown.args, shown.kwargs)))
        if len(mine) != len(theirs) or shown.size == batch.size:
            return set()
        return {id(t) for t, like in zip(mine, theirs, strict=True) if t.shape[:1] == like.shape[:1] != (shown.size,)}

    def _begin(self) -> Iterator[Any]:
        begun = iter(self.data)
        self._read_once = begun is self.data
        return begun

    def _endless(self, one_pass: bool = False) -> Iterator[Any]:
        """Batches without end. ``one_pass``: up to the end of the first pass that begins here."""
        began = empty = False
        while True:
            now = torch.get_rng_state()
            if self._iterator is None:
                self._before, self._began, self._opened = self.drawn, now, None
                self._iterator, began = self._begin(), True
            given = next(self._iterator, END)
            if not torch.equal(now, torch.get_rng_state()):
                self._opened = self._began
            if given is END:
                if empty or self._iterator is self.data:
                    return
                self._iterator = None
                if one_pass and began:
                    return
                empty = True
                continue
            empty = False
            self.drawn += 1
            yield given


def _gives_samples(data: object) -> bool:
    """Is it a data set of single samples? One that is iterable may give batches."""
    return isinstance(data, Dataset) and not isinstance(data, IterableDataset)


def _advice(data: object) -> str:
    if _gives_samples(data):
        return "wrap the samples, data=torch.utils.data.DataLoader(dataset, batch_size=64)"
    if callable(data) and not isinstance(data, Tensor):
        return "call it, and give what it returns"
    return "put a single batch in a list, or split it: data=images.split(64)"


def _over(function: Callable[[Any], Any], value: Any) -> Any:
    """A function over the leaves of a tree; mappings of classes that are no trees (transformers' BatchEncoding) too."""

    def leaf(one: Any) -> Any:
        if not isinstance(one, Mapping):
            return function(one)
        made: Any = type(one)
        try:
            return made({key: _over(function, inner) for key, inner in one.items()})
        except TypeError:  # it is made of something else
            return one

    return tree_map(leaf, value)


__all__ = ["Batch", "Source", "read"]
