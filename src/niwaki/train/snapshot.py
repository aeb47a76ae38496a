"""The model as it was at some step, to go back to."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.methods import Cut, Method, Part, Remember, Rewind, Sequence
from niwaki.train.unseen import Unseen
from niwaki.wrappers import bare


class Snapshot:
    """A copy of all parameters and buffers; empty until it is taken.

    Attributes:
        unseen: what the optimizer is like that has seen nothing.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model = model
        self._tensors: dict[str, Tensor] = {}
        self.train_with(optimizer)

    def train_with(self, optimizer: torch.optim.Optimizer) -> None:
        """From now on with this one."""
        self.unseen = Unseen(optimizer)

    def take(self) -> None:
        """Keep the model as it is now, in place of what was kept."""
        self._tensors = {name: t.detach().clone() for name, t in self._now().items()}

    @torch.no_grad()
    def bring_back(self, optimizer: torch.optim.Optimizer) -> None:
        """Put the copy into the model, and let the optimizer forget all that it has seen."""
        now = self._now()
        for name, kept in self._tensors.items():
            now[name].copy_(kept)
        self.unseen.bring_back(optimizer)

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by name."""
        return dict(self._tensors)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """What `state_dict` gave, onto the model's devices."""
        now = self._now()
        self._tensors = {name: kept.to(now[name].device) for name, kept in state.items()}

    def _now(self) -> dict[str, Tensor]:
        model = bare(self._model)
        return dict([*model.named_parameters(), *model.named_buffers()])


def check_rewinds(method: Method) -> None:
    """Raise :class:`BadInput` if a method goes back to a copy that is not there then, or is from before a cut."""
    _copy_after(method.body, "none", method.name)


def _copy_after(part: Part, copy: str, name: str) -> str:
    """The copy that a part leaves, given the one that it finds: ``"none"``, ``"there"``, or ``"uncut"``: older than a
    cut."""
    if isinstance(part, Sequence):
        for each in part.parts:
            copy = _copy_after(each, copy, name)
        return copy
    inside = list(part.walk())
    if any(isinstance(each, Remember) for each in inside):
        return "there"  # of parts side by side nobody can tell here which comes first
    if copy != "there" and any(isinstance(each, Rewind) for each in inside):
        why = "and has no Remember() before it" if copy == "none" else "to a copy from before a cut, of other shapes"
        raise BadInput(f"{name} has a Rewind() {why}: put Remember() where it shall go back to")
    return "uncut" if copy == "there" and any(isinstance(each, Cut) for each in inside) else copy


__all__ = ["Snapshot", "check_rewinds"]
