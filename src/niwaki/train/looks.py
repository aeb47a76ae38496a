"""What methods see of data: the engine's calibrations, made when first asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.calibration import Activity, Block, Calibration, Loss, Source
from niwaki.calibration.compensation import require_plain
from niwaki.errors import BadInput
from niwaki.graph import Graph
from niwaki.graph.observe import Inputs
from niwaki.methods import Method
from niwaki.methods.view import Place, Sampling
from niwaki.ranks import Ranks, is_sharded
from niwaki.surgery.decide import quotas
from niwaki.targets import Ratio, Target
from niwaki.wrappers import bare


class Looks:
    """A model before its data. ``data`` and ``loss`` as for :class:`niwaki.Pruning`."""

    def __init__(
        self,
        model: nn.Module,
        inputs: Inputs,
        data: Iterable[Any],
        loss: Loss | None,
        ranks: Ranks | None = None,
    ) -> None:
        self.model, self.loss, self.source = model, loss, Source(data, inputs)
        self.ranks = ranks or Ranks.alone()
        self._made: dict[Sampling, Calibration] = {}
        self._places: dict[str, tuple[list[Place], dict[str, Block]]] = {}
        self._steps = 0

    def places(self, graph: Graph, target: Target, sampling: Sampling, *, outputs: bool = False) -> list[Place]:
        """See :meth:`niwaki.methods.view.View.places`."""
        return self._placed(graph, target, sampling, outputs)[0]

    def left_out(self, graph: Graph, target: Target, sampling: Sampling, *, outputs: bool = False) -> dict[str, str]:
        """Why groups that the target offers are left alone, by name.

        Raises:
            BadInput: all are, or one that is named in full.
        """
        self._blocks(graph, target, sampling, outputs)
        return dict(self._calibration(graph, sampling).left_out)

    def seen(self, graph: Graph, target: Target, sampling: Sampling) -> list[str]:
        """The groups whose units can be looked at, by name."""
        return [block.group.name for block in self._blocks(graph, target, sampling)]

    def activity(self, graph: Graph, name: str, sampling: Sampling, *, moments: bool, steps: int) -> Activity:
        """See :meth:`niwaki.methods.view.View.activity`. ``steps``: of training so far, after which what was kept of
        the front is stale."""
        calibration = self._calibration(graph, sampling)
        self._share_buffers()
        if steps != self._steps:
            self.changed()
            self._steps = steps
        block = next(blocks[name] for _, blocks in self._places.values() if name in blocks)
        return calibration.activity(block, moments=moments)

    def sensitivity(self, graph: Graph, target: Target, sampling: Sampling, *, each: bool) -> Mapping[str, Tensor]:
        """See :meth:`niwaki.methods.view.View.sensitivity`."""
        assert self.loss is not None
        calibration = self._calibration(graph, sampling)
        self._share_buffers()
        return calibration.sensitivity(self._blocks(graph, target, sampling), self.loss, each=each)

    def reestimate(self, graph: Graph, sampling: Sampling) -> int:
        """Measure the batch norms again; give how many there are."""
        return self._calibration(graph, sampling).reestimate()

    def _share_buffers(self) -> None:
        """Running means are of what each rank has seen: the first rank's are looked at, as data parallelism itself
        takes them before every pass."""
        self.ranks.from_first(b for b in bare(self.model).buffers() if not is_sharded(b))

    def changed(self) -> None:
        """The weights have changed all over."""
        for calibration in self._made.values():
            calibration.changed()

    def forget(self) -> None:
        """The model has another shape now; files of what was kept are removed."""
        for calibration in self._made.values():
            calibration.close()
        self._made.clear()
        self._places.clear()

    def no_matrix(self, graph: Graph, target: Target, sampling: Sampling) -> dict[str, str]:
        """The layers that are no matrix, by the group that they take: they have no second moments."""
        blocks = self._blocks(graph, target, sampling, outputs=True)
        return {block.group.name: s.taker.path for block in blocks for s in block.seconds if not s.is_matrix}

    def check_written(self, graph: Graph, target: Target, sampling: Sampling, what: str) -> None:
        """Raise :class:`BadInput` where the weight of a layer cannot be written."""
        for block in self._blocks(graph, target, sampling, outputs=True):
            for second in block.seconds:
                require_plain(block.group.name, second, what)

    def _blocks(self, graph: Graph, target: Target, sampling: Sampling, outputs: bool = False) -> list[Block]:
        target.check_patterns(graph.groups)
        calibration = self._calibration(graph, sampling)
        return calibration.blocks(target.offers(graph.groups), _named(target), outputs=outputs)

    def _placed(
        self, graph: Graph, target: Target, sampling: Sampling, outputs: bool
    ) -> tuple[list[Place], dict[str, Block]]:
        key = f"{target!r} {sampling!r} {outputs}"
        if key not in self._places:
            blocks = {block.group.name: block for block in self._blocks(graph, target, sampling, outputs)}
            found = quotas(graph, blocks, target)
            places = [
                Place(name, torch.from_numpy(found[name][0]), found[name][1], all(s.is_matrix for s in block.seconds))
                for name, block in blocks.items()
            ]
            self._places[key] = (places, blocks)
        return self._places[key]

    def _calibration(self, graph: Graph, sampling: Sampling) -> Calibration:
        if sampling not in self._made:
            self._made[sampling] = Calibration(
                self.model, graph, self.source, sampling.samples, sampling.memory, sampling.fresh, ranks=self.ranks
            )
        return self._made[sampling]


def require(method: Method, data: object, loss: object) -> None:
    """Raise :class:`BadInput` unless there is all that a method needs."""
    for name, value in (("data", data), ("loss", loss)):
        if name in method.needs and value is None:
            wanted = {
                "data": "looks at data: give data=batches, an iterable of batches (no labels needed)",
                "loss": "needs a loss: give loss=function, of (model, batch) to one number with a gradient",
            }[name]
            raise BadInput(f"{method.name} {wanted}")


def _named(target: Target) -> set[str]:
    """The groups that a target names in full, without wildcards (or as they are the names of groups)."""
    by_pattern = target.removed if isinstance(target, Ratio) and isinstance(target.removed, Mapping) else {}
    return {*target.only, *by_pattern}


__all__ = ["Looks", "Loss", "require"]
