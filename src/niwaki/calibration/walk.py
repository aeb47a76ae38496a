"""Walking through a model with all calibration batches, block by block, and looking at layers' inputs on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from niwaki.calibration.batches import Batch
from niwaki.calibration.calls import calm
from niwaki.calibration.chain import Chain, Enough
from niwaki.calibration.failing import told_of
from niwaki.calibration.padding import real_positions
from niwaki.calibration.shelf import Kept, Shelf
from niwaki.errors import BadInput
from niwaki.graph.observe import Inputs, tensors_of
from niwaki.ranks import fully_sharded, resharded


class Walk:
    """All calibration batches, standing before one block of the model.

    What the blocks of ``chain`` that are behind have given is kept, so that they do not run again (set it before the
    first step); a forward pass ends where the last layer that is looked at is called. ``position``: how many blocks
    are behind. ``inputs``: as the model was traced with, beside which a batch is told that cannot be run.
    """

    def __init__(self, model: nn.Module, batches: Iterable[Batch], shelf: Shelf, inputs: Inputs) -> None:
        self.model, self.shelf, self.inputs, self.chain = model, shelf, inputs, Chain(())
        self._closed = False
        self._batches: list[tuple[Kept, int]] = []
        self._real: list[Tensor | None] = []
        try:
            for batch in batches:
                self._batches.append((shelf.put((batch.args, batch.kwargs)), batch.size))
                self._real.append(real_positions(model, batch))
        except BaseException:
            shelf.close()  # nobody has this walk, and the error's traceback holds the shelf
            raise
        self._outputs: list[dict[int, Kept]] = [{} for _ in self._batches]
        self.position = 0
        # A pass through a sharded model that is broken off leaves layers whole.
        self._whole = fully_sharded(model)

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def samples(self) -> int:
        """How many there are in all batches."""
        return sum(size for _, size in self._batches)

    def close(self) -> None:
        """Let go of all that is kept, in memory and in files, whoever still holds the walk. It cannot be gone on."""
        self._closed = True
        self.start_again()
        for kept, _ in self._batches:
            self.shelf.drop(kept)
        self._batches, self._real, self._outputs = [], [], []
        self.shelf.close()

    def batches(self) -> Iterator[Batch]:
        """The batches as they came."""
        self._require_open()
        for kept, size in self._batches:
            args, kwargs = self.shelf.get(kept)
            yield Batch(args, kwargs, size)

    def start_again(self) -> None:
        """Back to the first block: what was kept is of weights that have changed."""
        for outputs in self._outputs:
            for kept in outputs.values():
                self.shelf.drop(kept)
            outputs.clear()
        self.position = 0

    def go_to(self, position: int) -> None:
        """Take all batches on to before that block. (Never back.)"""
        self._require_open()
        if position > self.position:
            for k in range(len(self._batches)):
                self._advance(k, position)
            self.position = position

    def look(self, layers: Sequence[nn.Module]) -> Iterator[tuple[Tensor | None, list[tuple[int, Tensor]]]]:
        """For every batch: which positions are real (None: all), and the number and the input of each call.

        Args:
            layers: of each call, in their order; the pass ends with the last.

        Raises:
            BadInput: with some batch there were fewer, or others.
        """
        self._require_open()
        calls = len(layers)
        for k, real in enumerate(self._real):
            found: list[tuple[int, Tensor]] = []

            def see(
                number: int, layer: nn.Module, hidden: Tensor, found: list[tuple[int, Tensor]] = found, k: int = k
            ) -> None:
                if number < calls and layer is not layers[number]:
                    raise BadInput(
                        f"on batch {k} the model called the layers that are looked at in another order than on the "
                        "first: calibrate on batches that take the same way through the model"
                    )
                done = len(found) + 1 == calls and not self._whole
                found.append((number, hidden if done else hidden.clone()))
                if done:
                    raise Enough

            with looking(layers, see):
                self._run(k, None)
            if len(found) < calls:
                raise BadInput(
                    f"on batch {k} the model called the layers that are looked at {len(found)} times, and {calls} "
                    "times on the first: calibrate on batches that take the same way through the model"
                )
            yield real, found

    def _advance(self, k: int, position: int) -> None:
        """Take one batch on; what was kept and is no more needed is dropped."""
        wanted = set(self.chain.needed(position))
        old, new = self._outputs[k], {}

        def seen(block: int, output: Any) -> None:
            if block in wanted:
                new[block] = self.shelf.put(_copied(output))
            if block == position - 1 and not self._whole:
                raise Enough

        self._run(k, seen)
        for block, kept in old.items():
            if block in wanted:
                new[block] = kept
            else:
                self.shelf.drop(kept)
        self._outputs[k] = new

    def _run(self, k: int, seen: Callable[[int, Any], None] | None) -> None:
        args, kwargs = self.shelf.get(self._batches[k][0])
        outputs = {block: self.shelf.get(kept) for block, kept in self._outputs[k].items()}
        named = told_of(Batch(args, kwargs, self._batches[k][1]), self.inputs, f"batch {k} (the first is 0)")
        with calm(self.model), self.chain.passing(self.position, outputs, seen), suppress(Enough), named:
            self.model(*args, **kwargs)
        resharded(self.model)

    def _require_open(self) -> None:
        """Raise :class:`BadInput` where the samples are gone: no look at them may pass for one at no data."""
        if self._closed:
            raise BadInput(
                "these samples were looked at before, and have been let go of (with fresh=True each look draws its "
                "own, and the last ones go): look anew in place of asking the earlier look, or draw with fresh=False"
            )


def holds(model: nn.Module, chain: Chain, batch: Batch, output: Any, checks: int = 4) -> bool:
    """Does the model give ``output`` too when blocks are passed over? Tried before a few positions, the last among
    them: what a model does with its blocks' outputs beside handing them on cannot be seen from outside."""
    positions = sorted({round(len(chain) * n / checks) for n in range(1, checks + 1)} - {0})
    kept: dict[int, Any] = {}
    wanted = {block for position in positions for block in chain.needed(position)}

    def seen(block: int, given: Any) -> None:
        if block in wanted:
            kept[block] = _copied(given)

    expected = list(tensors_of(output, caches=False))
    try:
        with calm(model):
            with chain.passing(0, {}, seen):
                model(*_copied(batch.args), **_copied(batch.kwargs))
            for position in positions:
                stands = {block: _copied(kept[block]) for block in chain.needed(position)}
                with chain.passing(position, stands):
                    again = model(*_copied(batch.args), **_copied(batch.kwargs))
                found = list(tensors_of(again, caches=False))
                if len(found) != len(expected) or not all(map(_alike, found, expected)):
                    return False
    except Exception:
        return False
    return True


@contextmanager
def looking(layers: Sequence[nn.Module], see: Callable[[int, nn.Module, Tensor], None]) -> Iterator[None]:
    """Inside, ``see`` is told the number, the layer and the input of each call of ``layers``, counted over all."""
    with ExitStack() as stack:
        count = iter(range(10**9))

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            see(next(count), module, next(tensors_of((args, kwargs))))

        for layer in {id(layer): layer for layer in layers}.values():
            stack.callback(layer.register_forward_pre_hook(before, with_kwargs=True).remove)
        yield


def _copied(value: Any) -> Any:
    return tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, value)


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)


__all__ = ["Walk", "holds", "looking"]
