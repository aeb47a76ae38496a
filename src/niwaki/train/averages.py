"""The averaged copy of a model in training, which goes through everything that the model goes through."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.surgery.cut import cut_, shapes_of
from niwaki.surgery.masks import mask_
from niwaki.surgery.wrappers import bare
from niwaki.units import Plan


class Average:
    """An exponential moving average or the like; nothing if ``ema`` is None.

    Raises:
        BadInput: it has other tensors than the model.
    """

    def __init__(self, model: nn.Module, ema: nn.Module | None) -> None:
        self._ema = ema
        self._inside = None if ema is None else _inside(ema)
        if self._inside is not None and shapes_of(self._inside) != shapes_of(model):
            raise BadInput(
                f"ema must be an averaged copy of the model that is pruned; {type(self._inside).__name__} has other "
                f"tensors than {type(bare(model)).__name__}. Make it of the dense model, such as "
                "torch.optim.swa_utils.AveragedModel(model)."
            )

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


def _inside(ema: nn.Module) -> nn.Module:
    """The network in a wrapper such as ``AveragedModel``, which keeps it as ``module``."""
    if not isinstance(ema, nn.Module):
        raise BadInput(
            f"ema must be a module, such as torch.optim.swa_utils.AveragedModel(model), not {type(ema).__name__}"
        )
    inner = ema._modules.get("module")
    return bare(ema if inner is None or len(ema._modules) > 1 else inner)


__all__ = ["Average"]
