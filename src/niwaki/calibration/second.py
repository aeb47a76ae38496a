"""The second part of a block: the layer that takes the units, and the batch norm right behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.calibration.calls import require_gradients
from niwaki.calibration.takers import CONVOLUTIONS, TRANSPOSED, Taker
from niwaki.ranks import whole

LARGEST = 2**24
"""Numbers that the unfolded input of a convolution may have at a time."""


@dataclass(frozen=True, eq=False)
class Second:
    """``U = norm(W1 H)``: what a layer and, where there is one, the batch norm that alone reads it make of H.

    All is computed in float64, from the weights as they are when asked. ``alone``: the norm reads this layer and no
    other.
    """

    taker: Taker
    norm: nn.Module | None = None
    norm_path: str = ""
    alone: bool = True

    def full(self, hidden: Tensor, *, batch_statistics: bool = False) -> Tensor:
        """The output for hidden activations. ``batch_statistics``: the batch norm takes the mean and the variance of
        this very batch, as it does in training."""
        output = self.taker.apply(hidden.double(), self._weight(), self._bias())
        norm: Any = self.norm
        if norm is None:
            return output
        mean, variance = norm.running_mean.double(), norm.running_var.double()
        weight, bias = (None if t is None else whole(t.detach()).double() for t in (norm.weight, norm.bias))
        batch_statistics = batch_statistics and output.numel() > output.shape[1]  # one value has no variance
        if batch_statistics:
            mean = variance = None
        return F.batch_norm(output, mean, variance, weight, bias, batch_statistics, 0.0, norm.eps)

    def linear(self, hidden: Tensor) -> Tensor:
        """The part of the output that is linear in H: ``U(H) - U(0)`` with the stored statistics."""
        output = self.taker.apply(hidden.double(), self._weight(), None)
        scale = self.scale()
        if scale is None:
            return output
        return output * (scale.reshape(-1, *[1] * self.taker.space) if self.taker.space else scale)

    def back(self, hidden: Tensor, output: Tensor) -> Tensor:
        """What the transpose of the linear part makes of ``output``, in the shape of ``hidden``: the gradient of
        ``0.5 ||U - U'||²`` with respect to H where ``output`` is ``U - U'``."""
        require_gradients()
        with torch.enable_grad():
            at = hidden.double().detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.linear(at), at, output)
        return gradient

    def constant(self, hidden: Tensor) -> Tensor:
        """``U(0)`` for inputs of this shape."""
        return self.full(torch.zeros_like(hidden))

    def scale(self) -> Tensor | None:
        """What the batch norm multiplies each output by; None without one."""
        norm: Any = self.norm
        if norm is None:
            return None
        rate = (norm.running_var.double() + norm.eps).rsqrt()
        return rate if norm.weight is None else rate * whole(norm.weight.detach()).double()

    # -- rows: the layer as a plain matrix -----------------------------------------------------------------

    @property
    def is_matrix(self) -> bool:
        """Is the layer one matrix over all of its input, unfolded? Grouped and transposed convolutions are not."""
        module: Any = self.taker.module
        return not isinstance(module, TRANSPOSED) and getattr(module, "groups", 1) == 1

    def matrix(self) -> Tensor:
        """The weight with a row per output and a column per unfolded input, float64, batch norm left out."""
        weight = self._weight()
        if isinstance(self.taker.module, (nn.Linear, *CONVOLUTIONS)):
            return weight.flatten(1)
        return weight.t()

    def as_weight(self, matrix: Tensor) -> Tensor:
        """A matrix such as :meth:`matrix` gives, in the shape of the layer's weight."""
        if isinstance(self.taker.module, (nn.Linear, *CONVOLUTIONS)):
            return matrix.reshape(self.taker.module.weight.shape)
        return matrix.t()

    def times(self, per_position: Tensor) -> Tensor:
        """The layer's weight, float64, with what it takes from each position of its input times a number of it. Also of
        grouped and transposed convolutions, which are no matrix."""
        weight, layer = self._weight(), self.taker.module
        factors, kernel = per_position.to(weight.device), [1] * self.taker.space
        if isinstance(layer, CONVOLUTIONS):
            rows = factors.reshape(layer.groups, -1).repeat_interleave(len(weight) // layer.groups, 0)
            return weight * rows.reshape(len(weight), -1, *kernel)
        return weight * (factors if isinstance(layer, nn.Linear) else factors.reshape(-1, 1, *kernel))

    def repeats(self) -> int:
        """Columns of the matrix per position of the input: 1, or the size of a convolution's kernel."""
        return int(self._weight()[0, 0].numel()) if self.taker.space else 1

    def rows(self, hidden: Tensor) -> Iterator[Tensor]:
        """The inputs that the matrix is applied to, float64, in pieces of bounded size, each made when it is asked for.
        Shape: (many, columns)."""
        if not self.taker.space:
            flat = hidden.flatten(0, -2)
            yield from (piece.double() for piece in flat.split(max(1, LARGEST // flat.shape[1])))
            return
        module: Any = self.taker.module
        hidden = hidden if hidden.dim() == self.taker.space + 2 else hidden[None]
        outputs = hidden[0, 0].numel()
        step = max(1, LARGEST // max(1, outputs * self.repeats() * hidden.shape[1]))
        yield from (_unfolded(piece, module, self.taker.space) for piece in hidden.split(step))

    def _weight(self) -> Tensor:
        module: Any = self.taker.module
        return whole(module.weight.detach()).double()

    def _bias(self) -> Tensor | None:
        bias: Any = getattr(self.taker.module, "bias", None)
        return None if bias is None else whole(bias.detach()).double()


def _unfolded(hidden: Tensor, module: Any, space: int) -> Tensor:
    """The patches that a convolution looks at, a row each."""
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    found = F.pad(hidden.double(), module._reversed_padding_repeated_twice, mode=mode)
    for d in range(space):
        reach = module.dilation[d] * (module.kernel_size[d] - 1) + 1
        found = found.unfold(2 + d, reach, module.stride[d])[..., :: module.dilation[d]]
    # batch, channels, places…, kernel… -> (batch, places…), (channels, kernel…)
    order = [0, *range(2, 2 + space), 1, *range(2 + space, 2 + 2 * space)]
    return found.permute(order).flatten(0, space).flatten(1)


__all__ = ["Second"]
