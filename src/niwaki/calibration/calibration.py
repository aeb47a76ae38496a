"""A model with its graph and its data: which groups can be looked at, in what order, and what their units do."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.calibration.activity import Activity
from niwaki.calibration.batches import Batch, Source
from niwaki.calibration.blocks import Block
from niwaki.calibration.calls import BATCH_NORMS, Call, record_calls
from niwaki.calibration.chain import Chain, find_chain
from niwaki.calibration.failing import told_of
from niwaki.calibration.own_forward import own_forwards
from niwaki.calibration.padding import without_padding
from niwaki.calibration.second import Second
from niwaki.calibration.sensitivity import Loss, sensitivity
from niwaki.calibration.shelf import Shelf
from niwaki.calibration.statistics import reestimate
from niwaki.calibration.takers import Taker, Unfit, check_all_taken, owner, takers_of
from niwaki.calibration.walk import Walk, holds
from niwaki.errors import BadInput
from niwaki.graph import Graph
from niwaki.ranks import Ranks, fully_sharded, local, resharded
from niwaki.units import Group
from niwaki.wrappers import bare, uncompiled

logger = logging.getLogger("niwaki")

SAMPLES = 1280
"""As many as methods ask for where the user says nothing."""
PREFERRED = ("head", "neuron", "channel", "kv_group", "channel group", "head_dim")
"""Of several groups whose units lie at the same inputs, the first kind in this list is pruned."""


@dataclass(eq=False)
class Calibration:
    """Batches of data before a model.

    Args:
        source: gives the batches. samples: how many are used; all, if there are fewer, which the log tells of a number
            that somebody has chosen. memory: bytes of inputs and blocks' outputs that are
            kept in memory; the rest goes to a temporary folder. fresh: draw new samples for every activity. walk:
            keep what the blocks of a chain have given, so that they do not run again. ranks: those that look
            together, each at its own share of ``samples``.
    """

    model: nn.Module
    graph: Graph
    source: Source
    samples: int = SAMPLES
    memory: int = 2**30
    fresh: bool = False
    walk: bool = True
    ranks: Ranks = field(default_factory=Ranks.alone)
    left_out: dict[str, str] = field(default_factory=dict)
    """Why groups are not among the blocks, by name; filled by :meth:`blocks`."""
    _calls: list[Call] = field(default_factory=list)
    _read: frozenset[str] = frozenset()
    _odd: set[nn.Module] | None = None
    _told: bool = False  # that there are fewer samples than were asked for

    def __post_init__(self) -> None:
        self.model = bare(self.model)
        self._modules = dict(self.model.named_modules(remove_duplicate=False))
        self._walk = self._draw()
        try:
            self._record()
        except BaseException:
            self.close()  # nobody else can: this object is never had, and the error's traceback holds it
            raise

    def close(self) -> None:
        """Let go of all samples, and of their files, when nothing more will be looked at. (A traceback or a cycle
        of references may hold this object far longer.)"""
        self._walk.close()

    def _record(self) -> None:
        """See how the model runs, on the first batch."""
        first = next(self._walk.batches())
        with uncompiled(self.model):
            with told_of(first, self.source.inputs, "the first batch"):
                self._calls, output, self._read = record_calls(self.model, first)
            resharded(self.model)
            self._chain = find_chain(self.model, self._calls)
            if self.walk and not self.fresh:
                self._walk.chain = self._sound_chain(first, output)

    def _sound_chain(self, batch: Batch, output: Any) -> Chain:
        """The finest chain along which the model can be walked; an empty one if there is none."""
        for chain in (self._chain, find_chain(self.model, self._calls, fine=False)):
            if not len(chain):
                continue
            sound = self.ranks.texts(str(holds(self.model, chain, batch, output)))
            resharded(self.model)
            if set(sound) == {"True"}:
                return chain
        return Chain(())

    def _draw(self) -> Walk:
        """Samples, before the first block: the first of the data, or the next."""
        count = self._own_samples
        drawn = self.source.next_samples(count) if self.fresh else self.source.samples(count)
        with self.ranks.every("reading the data"):
            # Copies: a loader may fill the same tensors again.
            copies = (batch.to(self._device, copy=True) for batch in drawn)
            walk = Walk(self.model, copies, Shelf(self.memory), self.source.inputs)
        if fully_sharded(self.model):
            self._check_alike(len(walk))
        self._tell_of_few(walk.samples)
        return walk

    def _tell_of_few(self, found: int) -> None:
        """Once; the usual number stands for as many as there are."""
        asked = self._own_samples
        if found < asked and self.samples != SAMPLES and not self._told:
            self._told = True
            logger.warning(
                "%d samples of data were asked for, and there are %d: all of them are looked at", asked, found
            )

    def _check_alike(self, batches: int) -> None:
        """Raise :class:`BadInput` unless all ranks have as many batches: they run a sharded model together."""
        counts = [int(text) for text in self.ranks.texts(str(batches))]
        if len(set(counts)) > 1:
            raise BadInput(
                f"the model is sharded, so that all ranks must run it as often, and they have {counts} batches to look "
                "at: give every rank as many"
            )

    @property
    def _own_samples(self) -> int:
        """The share of this rank; every one looks at a sample at least."""
        share, more = divmod(self.samples, self.ranks.size)
        return max(1, share + (self.ranks.rank < more))

    @property
    def _device(self) -> torch.device:
        return next((local(p).device for p in self.model.parameters()), torch.device("cpu"))

    # -- which groups ----------------------------------------------------------------------------------------

    def blocks(self, groups: Iterable[Group], asked: Iterable[str] = (), *, outputs: bool = False) -> list[Block]:
        """The groups of which the inner activations can be looked at, in the order in which their units are taken.

        Left alone are residual streams and other groups that reach over several blocks, groups over which a norm
        averages, and, of groups at the same inputs (heads, and the dimensions within), all but one: unless they are in
        ``asked``. Why is then in :attr:`left_out`.

        Args:
            outputs: what the layers that take the units give is computed too: left alone are also groups that are taken
                by a layer with a forward pass of its own.

        Raises:
            BadInput: a group that was asked for cannot be looked at, or none can.
        """
        groups, asked, found = list(groups), set(asked), []
        self.left_out = {}
        for group in groups:
            try:
                block = self._block(group)
                if group.name not in asked:
                    self._check_inside(block)
                if outputs:
                    self._check_computed(block)
                found.append(block)
            except Unfit as trouble:
                if group.name in asked:
                    raise
                self.left_out[group.name] = str(trouble)
        found = self._one_each(found, asked)
        if groups and not found:
            reasons = "; ".join(dict.fromkeys(self.left_out.values()))
            raise BadInput(f"there is no group that can be chosen by its activations: {reasons}")
        return sorted(found, key=lambda block: block.first)

    def _block(self, group: Group) -> Block:
        takers = self._called(group, takers_of(group, self._modules, self.graph.aliases))
        by_module = {id(t.module): t for t in takers}
        places = [k for k, call in enumerate(self._calls) if id(call.module) in by_module]
        seconds = tuple(self._second(by_module[id(self._calls[k].module)], k) for k in places)
        return Block(group, tuple(takers), places[0], seconds)

    def _called(self, group: Group, takers: Sequence[Taker]) -> list[Taker]:
        """Those that are called in eval mode: heads that run in training alone follow the cut, but have no say."""
        called = {id(call.module) for call in self._calls}
        used = [t for t in takers if id(t.module) in called or t.weight in self._read]
        silent = [t.path for t in used if id(t.module) not in called]
        if silent:
            raise Unfit(
                f"group {group.name!r} is taken by {silent[0]!r}, which is not called as a module of its own: what it "
                "takes cannot be seen"
            )
        if not used:
            raise Unfit(
                f"group {group.name!r} is taken by {takers[0].path!r}, which the model does not call in eval mode on "
                "the first batch: what it takes cannot be seen"
            )
        check_all_taken(group, used)
        return used

    def _second(self, taker: Taker, place: int) -> Second:
        """The layer with the batch norm that reads its output, if nothing else does."""
        given = self._calls[place]
        # Behind a Linear on sequences a batch norm would norm positions, not features.
        if given.readers == 1 and given.rank == 2 + taker.space:
            for call in self._calls[place + 1 :]:
                norm: Any = call.module
                if isinstance(norm, BATCH_NORMS) and given.gives in call.takes and norm.running_mean is not None:
                    return Second(taker, norm, call.path, self._reads_only(norm, taker.module))
        return Second(taker)

    def _reads_only(self, norm: nn.Module, layer: nn.Module) -> bool:
        """Does a norm normalise what this layer gives, and nothing else?"""
        given = {call.gives for call in self._calls if call.module is layer}
        return all(given & set(call.takes) for call in self._calls if call.module is norm)

    def _check_computed(self, block: Block) -> None:
        """Raise :class:`Unfit` where the output of a layer cannot be told from its weight and bias."""
        if self._odd is None:
            with uncompiled(self.model):
                self._odd = own_forwards(self.model, next(self._walk.batches()))
            resharded(self.model)
        odd = [taker for taker in block.takers if taker.module in self._odd]
        if odd:
            raise Unfit(
                f"group {block.group.name!r} is taken by {odd[0].path!r}, a {type(odd[0].module).__name__} with a "
                "forward pass of its own, which does not give what its weight and bias alone would: what it makes of "
                "the units cannot be computed. nk.methods.topk without compensation and nk.methods.michel need not"
            )

    def _check_inside(self, block: Block) -> None:
        """Raise :class:`Unfit` for groups that are not the inside of one block."""
        group = block.group
        if group.changes_statistics:
            raise Unfit(
                f"a norm averages over the units of group {group.name!r}; name it in `only` to prune it all the same"
            )
        makers = {owner(member.name) for member in group.makers}
        places = self._first_round([k for k, call in enumerate(self._calls) if call.path in makers], block)
        late = any(k > block.first for k in places)
        around = {self._chain.around(k, self._calls) for k in (*places, block.first)}
        # A gate inside one block is made after it was taken, or by two layers; a stream too, but not inside one block.
        if (late or len(makers) > 1) and (len(around) > 1 or (late and -1 in around)):
            raise Unfit(
                f"group {group.name!r} joins what several blocks make (a residual stream); name it in `only` to "
                "prune it all the same"
            )

    def _first_round(self, makers: list[int], block: Block) -> list[int]:
        """Of the calls of what makes a group, those of the first round, where a block is called several times with all
        of its layers each time; else all."""
        layers = {id(taker.module) for taker in block.takers}
        takers = [k for k, call in enumerate(self._calls) if id(call.module) in layers]
        by_module: dict[int, list[int]] = {}
        for k in (*makers, *takers):
            by_module.setdefault(id(self._calls[k].module), []).append(k)
        rounds = list(zip(*by_module.values(), strict=False))
        alike = len({len(places) for places in by_module.values()}) == 1
        if alike and all(max(one) < min(next_one) for one, next_one in pairwise(rounds)):
            return [k for k in makers if k in rounds[0]]
        return makers

    def _one_each(self, blocks: list[Block], asked: set[str]) -> list[Block]:
        """Of blocks at the same inputs, one; those asked for by name all."""
        taken: dict[str, Tensor] = {}
        kept = []

        def rank(block: Block) -> tuple[bool, int]:
            kind = block.group.kind
            return block.group.name not in asked, PREFERRED.index(kind) if kind in PREFERRED else 1

        for block in sorted(blocks, key=rank):
            inputs = {t.path: t.unit_of >= 0 for t in block.takers}
            shared = any(path in taken and bool((taken[path] & here).any()) for path, here in inputs.items())
            if shared and block.group.name not in asked:
                self.left_out[block.group.name] = (
                    f"group {block.group.name!r} ({block.group.kind}) shares its inputs with another that is pruned; "
                    "name it in `only` to prune it"
                )
                continue
            for path, here in inputs.items():
                taken[path] = taken.get(path, torch.zeros_like(here)) | here
            kept.append(block)
        return kept

    # -- what they do ----------------------------------------------------------------------------------------

    def activity(self, block: Block, *, moments: bool = False) -> Activity:
        """What the units of a block do, with the model as it is now."""
        if self.fresh:
            self._walk.close()  # before the next are drawn: both together would take twice the memory
            self._walk = self._draw()
        walk = self._walk
        position = walk.chain.position(block.first, self._calls)
        if position < walk.position:
            walk.start_again()
        with uncompiled(self.model):
            walk.go_to(position)
        layers = [second.taker.module for second in block.seconds]

        def again() -> Iterator[list[tuple[int, Tensor]]]:
            with uncompiled(self.model):
                for number, (real, found) in enumerate(walk.look(layers)):
                    for k, h in found:
                        block.seconds[k].taker.require_samples(h, number)
                    yield [(k, h if block.seconds[k].taker.space else without_padding(h, real)) for k, h in found]

        return Activity(block.group.name, len(block.group), block.seconds, again, moments, self.ranks)

    def changed(self) -> None:
        """The weights have changed, not only of layers ahead: what was kept is stale."""
        self._walk.start_again()

    def reestimate(self) -> int:
        """See :func:`niwaki.calibration.reestimate`; on the calibration data."""
        with uncompiled(self.model):
            found = reestimate(self.model, self._walk.batches(), self.ranks)
        resharded(self.model)
        return found

    def sensitivity(self, blocks: Sequence[Block], loss: Loss, *, each: bool) -> dict[str, Tensor]:
        """See :func:`niwaki.calibration.sensitivity.sensitivity`; the batches are drawn again, labels and all.

        Raises:
            BadInput: the data can be read once.
        """
        with uncompiled(self.model):
            drawn = (batch.to(self._device) for batch in self.source.samples(self._own_samples))
            found = sensitivity(self.model, blocks, drawn, loss, each=each, ranks=self.ranks)
        resharded(self.model)
        return found


__all__ = ["Block", "Calibration"]
