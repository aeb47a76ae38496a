"""The averaged copy of a model in training, which goes through everything that the model goes through."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.surgery.cut import check_plan, cut_, shapes_of
from niwaki.surgery.masks import mask_
from niwaki.units import Plan
from niwaki.wrappers import bare


class Average:
    """An exponential moving average or the like; nothing if ``ema`` is None.

    Raises:
        BadInput: it has other tensors than the model.
    """

    def __init__(self, model: nn.Module, ema: nn.Module | None) -> None:
        self._ema = ema
        self._inside = None if ema is None else _inside(ema, model)
        if self._inside is not None and shapes_of(self._inside) != shapes_of(model):
            raise BadInput(
                f"ema must be an averaged copy of the model that is pruned; {type(self._inside).__name__} has other "
                f"tensors than {type(bare(model)).__name__}. Make it of the dense model, such as "
                "torch.optim.swa_utils.AveragedModel(model)."
            )

    def check(self, plan: Plan) -> None:
        """Raise :class:`StalePlan` unless `cut` can carry it out."""
        if self._inside is not None:
            check_plan(self._inside, plan)

    def cut(self, plan: Plan) -> None:
        """The same entries go."""
        if self._inside is not None:
            cut_(self._inside, plan)

    @torch.no_grad()
    def hold(self, masked: Plan | None, gone: Mapping[str, Tensor]) -> None:
        """What is masked in the model is zero here as well. (And stays so: an average of zeros is zero.)"""
        if self._inside is None:
            return
        if masked is not None:
            mask_(self._inside, masked)
        weights = dict(self._inside.named_parameters())
        for name, mask in gone.items():
            weights[name].masked_fill_(mask.to(weights[name].device), 0.0)

    def state_dict(self) -> dict[str, Tensor]:
        """All tensors of what was given, counters too; none if there is no average."""
        state = {} if self._ema is None else self._ema.state_dict()
        return {name: t.detach().clone() for name, t in state.items() if isinstance(t, Tensor)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """What `state_dict` gave, in place."""
        now = {} if self._ema is None else self._ema.state_dict()
        for name in now.keys() & state.keys():
            now[name].copy_(state[name])

    @torch.no_grad()
    def begin_again(self, model: nn.Module) -> None:
        """The model has been given other weights, of which the average knows nothing: it starts from them."""
        if self._inside is None:
            return
        now = bare(model).state_dict()
        for name, value in self._inside.state_dict().items():
            value.copy_(now[name])
        if isinstance(counter := getattr(self._ema, "n_averaged", None), Tensor):
            counter.zero_()


def _inside(ema: nn.Module, model: nn.Module) -> nn.Module:
    """The network itself; or that in a wrapper such as ``AveragedModel``, which keeps it as ``module``."""
    if not isinstance(ema, nn.Module):
        raise BadInput(
            f"ema must be a module, such as torch.optim.swa_utils.AveragedModel(model), not {type(ema).__name__}"
        )
    if shapes_of(ema) == shapes_of(model):  # whatever its own child is called
        return bare(ema)
    inner = ema._modules.get("module")
    return bare(ema if inner is None or len(ema._modules) > 1 else inner)


__all__ = ["Average"]
