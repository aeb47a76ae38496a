"""What training has done to every weight, summed up for scores that watch it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.methods import Choose, Method, Part, Sequence, Together
from niwaki.ranks import local
from niwaki.scores import watches
from niwaki.surgery.singles import check_own, offered, single_weights, still
from niwaki.train.overflow import finite
from niwaki.wording import some
from niwaki.wrappers import bare

logger = logging.getLogger("niwaki")


def check_watched(method: Method, model: nn.Module) -> None:
    """See that training can tell something of all weights of which a score that watches it must choose.

    Raises:
        BadInput: the choice comes before any step, or weights are frozen.
    """
    for choice in _too_early(method.body, trained=False):
        raise BadInput(
            f"{method.name} chooses by {type(choice.score).__name__}, which is summed up while the model trains, and "
            "no step of training comes before that choice: the first weights would go, whatever they are worth. Train "
            "before it (dense=…, or nk.methods.movement), or choose by another score, such as nk.scores.L1()"
        )
    for choice in _watching(method):
        weights = single_weights(model)
        names = offered(weights, choice.target)
        check_own(model, names)
        frozen = [name for name in names if not weights[name].requires_grad]
        if frozen:
            raise BadInput(
                f"{method.name} chooses by what gradients say of weights, and some that it may take are frozen and "
                f"have none: {some([repr(name) for name in frozen])}. Let them train (requires_grad_(True)), or leave "
                f"them out by name: skip={frozen[0]!r}"
            )


def _watching(method: Method) -> Iterator[Choose]:
    """The choices of single weights by a score that watches training."""
    for part in method.body.walk():
        if isinstance(part, Choose) and watches(part.score) and part.of == "weights":
            yield part


def _too_early(part: Part, *, trained: bool) -> Iterator[Choose]:
    """Such choices that no step of training comes before. (Parts that take time and choose do so after a step.)"""
    if isinstance(part, Choose) and watches(part.score) and part.of == "weights" and not trained:
        yield part
    if isinstance(part, (Sequence, Together)):
        for each in part.parts:
            yield from _too_early(each, trained=trained)
            trained = trained or (isinstance(part, Sequence) and each.takes_time)


class Moves:
    """``- Σ g w`` of the weights called ``names``, in float32 (:class:`niwaki.scores.Movement`)."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        self._model, self._names, self._told = model, names, False
        self.sums = {
            name: torch.zeros_like(w, dtype=torch.float32, requires_grad=False) for name, w in self._weights().items()
        }

    @classmethod
    def of(cls, method: Method, model: nn.Module) -> Moves:
        """Of the weights that the method's choices by such a score may take; of none, if it has no such choice."""
        names: dict[str, None] = {}
        for choice in _watching(method):
            names |= dict.fromkeys(offered(single_weights(model), choice.target))
        return cls(model, tuple(names))

    @torch.no_grad()
    def add(self, optimizer: torch.optim.Optimizer) -> None:
        """Add what the gradients say now, which are the loss's and nothing else's. Where half precision overflowed in
        any that the optimizer steps by, the scaler leaves the step out, and so do the sums."""
        moved = {name: weight for name, weight in self._weights().items() if weight.grad is not None}
        every = {id(p): p for group in optimizer.param_groups for p in group["params"]}
        every |= {id(weight): weight for weight in moved.values()}
        if moved and not finite(p.grad for p in every.values()):
            return
        for name, weight in moved.items():
            assert weight.grad is not None
            local(self.sums[name]).addcmul_(local(weight.grad).float(), local(weight).float(), value=-1)

        self._tell()

    def _tell(self) -> None:
        """Once, after the first step that counts, and not after hours: what gets no gradient. All ranks look."""
        unmoved, self._told = [] if self._told else still(self.sums), True
        if unmoved:
            logger.warning(
                "the first step brought no gradient to %d of %d weights that may go by what gradients say (%s). Until "
                "one arrives all of them stay. Does training run these layers? If not, leave them out by name: skip=%r",
                len(unmoved), len(self.sums), some(unmoved), unmoved[0],
            )  # fmt: skip

    def put(self, sums: Mapping[str, Tensor]) -> None:
        """Go on from these."""
        self.sums.update(sums)

    def _weights(self) -> dict[str, Tensor]:
        parameters = dict(bare(self._model).named_parameters())
        return {name: parameters[name] for name in self._names}


__all__ = ["Moves", "check_watched"]
