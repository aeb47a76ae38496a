"""What a group's units do on the calibration data, and what the layers behind them make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from niwaki.calibration.compensation import Moments, compensated, require_plain
from niwaki.calibration.second import Second
from niwaki.errors import BadInput
from niwaki.ranks import Ranks

Pass = Callable[[], Iterable["list[tuple[int, Tensor]]"]]
"""Goes over the data once: for every batch, (number of the second part, its hidden input) for all of them."""


@dataclass(eq=False)
class _Sum:
    """Hidden activations of one shape, summed over samples (Linear: and positions); and over how many."""

    hidden: Tensor
    count: int


@dataclass(eq=False)
class Activity:
    """The hidden activations H of one group, at the inputs of the layers that take its units.

    What i-SpaSP asks for, the importance ``mu(W1' (U - U'))``, is linear in H wherever the second part is: the sum over
    samples of the gradients is then the gradient at the sum of the samples, and one pass over the data serves all
    iterations. Where it is not (a batch norm on batch statistics) every look passes over the data. Everything is summed
    in float64 over batches, so that batches of any size give the same.

    ``moments``: sum up second moments too, on the same pass (compensation and greedy selection need them). ``ranks``:
    each goes over its own data, and has the sums over all.
    """

    name: str
    units: int
    seconds: tuple[Second, ...]
    again: Pass
    moments: bool = False
    ranks: Ranks = field(default_factory=Ranks.alone)
    _sums: dict[tuple[int, torch.Size], _Sum] = field(default_factory=dict)
    _absolute: dict[int, Tensor] = field(default_factory=dict)
    _moments: dict[int, Moments] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.moments:
            assert all(second.is_matrix for second in self.seconds)
        with self.ranks.every(f"a look at group {self.name!r}"), torch.no_grad():
            for hidden in self.again():
                for k, h in hidden:
                    self._add(k, h)
        self._join()
        if not all(bool(masses.isfinite().all()) for masses in self._absolute.values()):
            raise BadInput(
                f"the activations of group {self.name!r} hold inf or nan. Calibrate in float32, or on data that give "
                "finite numbers"
            )

    def _add(self, k: int, hidden: Tensor) -> None:
        second = self.seconds[k]
        if second.taker.space:
            batched = hidden if hidden.dim() == second.taker.space + 2 else hidden[None]
            total, count = batched.double().sum(0, keepdim=True), len(batched)
        else:
            flat = hidden.flatten(0, -2)
            total, count = flat.double().sum(0, keepdim=True), len(flat)
        absolute = second.taker.per_position(hidden.double().abs())
        self._absolute[k] = self._absolute[k] + absolute if k in self._absolute else absolute
        key = (k, total.shape)
        if key in self._sums:
            self._sums[key].hidden += total
            self._sums[key].count += count
        else:
            self._sums[key] = _Sum(total, count)
        if self.moments:
            self._moments.setdefault(k, Moments()).add(second.rows(hidden))

    def _join(self) -> None:
        """The sums over all ranks take the place of this one's."""
        if self.ranks.size == 1:
            return
        found: dict[Any, Tensor] = {("absolute", k): t for k, t in self._absolute.items()}
        for (k, shape), total in self._sums.items():
            found["hidden", k, tuple(shape)] = total.hidden
            found["count", k, tuple(shape)] = torch.tensor(total.count)
        for k, moments in self._moments.items():
            found["products", k], found["total", k] = moments.products, moments.total
            found["rows", k] = torch.tensor(moments.count)
        sums = self.ranks.summed(found)
        self._absolute = {key[1]: t for key, t in sums.items() if key[0] == "absolute"}
        self._sums = {
            (key[1], torch.Size(key[2])): _Sum(t, int(sums["count", key[1], key[2]]))
            for key, t in sums.items()
            if key[0] == "hidden"
        }
        self._moments = {
            key[1]: Moments(t, sums["total", key[1]], int(sums["rows", key[1]]))
            for key, t in sums.items()
            if key[0] == "products"
        }

    def mass(self, *, absolute: bool = True) -> Tensor:
        """``mu(H)``: the hidden activations of every unit, summed over samples, positions and layers.

        Args:
            absolute: of their absolute values; otherwise with their signs.
        """
        found = torch.zeros(self.units, dtype=torch.float64)
        if absolute:
            for k, per_position in self._absolute.items():
                found += self.seconds[k].taker.per_unit(per_position, self.units)
            return found
        for (k, _), total in self._sums.items():
            taker = self.seconds[k].taker
            found += taker.per_unit(taker.per_position(total.hidden), self.units)
        return found

    def importance(self, kept: Tensor, *, batch_statistics: bool = False) -> Tensor:
        """``mu(W1' (U - U'))``: the gradient of half the squared difference between the whole output U and that of the
        kept units U', with respect to H, summed over samples and positions. With nothing kept, U' is 0.

        Args:
            kept: bool, (units,). batch_statistics: a batch norm behind forms U' on the statistics of each batch.
        """
        found = torch.zeros(self.units, dtype=torch.float64)
        own = batch_statistics and bool(kept.any()) and any(s.norm is not None for s in self.seconds)
        with torch.no_grad():
            for (k, _), (at, missing) in (self._looked_everywhere if own else self._missing)(kept).items():
                taker = self.seconds[k].taker
                gradient = self.seconds[k].back(at, missing)
                found += taker.per_unit(taker.per_position(gradient), self.units)
        return found

    def _missing(self, kept: Tensor) -> dict[tuple[int, torch.Size], tuple[Tensor, Tensor]]:
        """Summed over samples: where the gradient is taken, and ``U - U'``."""
        found = {}
        for (k, shape), total in self._sums.items():
            second = self.seconds[k]
            if bool(kept.any()):
                gone = second.taker.along(second.taker.spread(~kept, 0.0), total.hidden)
                missing = second.linear(total.hidden * gone)
            else:
                missing = second.linear(total.hidden) + total.count * second.constant(total.hidden)
            found[k, shape] = (total.hidden, missing)
        return found

    def _looked_at(self, kept: Tensor) -> dict[tuple[int, torch.Size], tuple[Tensor, Tensor]]:
        """The same in one more pass over the data, where U' is not linear in what is kept."""
        found: dict[tuple[int, torch.Size], tuple[Tensor, Tensor]] = {}
        for hidden in self.again():
            for k, h in hidden:
                second = self.seconds[k]
                stays = second.taker.along(second.taker.spread(kept, 1.0), h.double())
                difference = second.full(h) - second.full(h.double() * stays, batch_statistics=True)
                leading = (0,) if second.taker.space else tuple(range(difference.dim() - 1))
                missing = difference.sum(leading, keepdim=True).flatten(0, -2 - second.taker.space)
                shape = h.shape[1:] if second.taker.space else h.shape[-1:]
                at = h.new_zeros((1, *shape))
                key = (k, at.shape)
                found[key] = (at, found[key][1] + missing if key in found else missing)
        return found

    def _looked_everywhere(self, kept: Tensor) -> dict[tuple[int, torch.Size], tuple[Tensor, Tensor]]:
        """The same on the data of all ranks."""
        with self.ranks.every(f"a look at group {self.name!r}"):
            found = self._looked_at(kept)
        if self.ranks.size == 1:
            return found
        sums = self.ranks.summed({(k, tuple(shape)): missing for (k, shape), (_, missing) in found.items()})
        return {
            (k, torch.Size(shape)): (torch.zeros(shape, device=missing.device), missing)
            for (k, shape), missing in sums.items()
        }

    def errors(self, weights: Iterable[Tensor]) -> list[float]:
        """For each set of weights, one number per unit: the summed squared difference between U and the output when
        every unit counts so much. One pass over the data for all of them."""
        every = [w.double() for w in weights]
        found = [0.0] * len(every)
        with self.ranks.every(f"a look at group {self.name!r}"), torch.no_grad():
            for hidden in self.again():
                for k, h in hidden:
                    second = self.seconds[k]
                    for n, weight in enumerate(every):
                        less = second.taker.along(second.taker.spread(1 - weight, 0.0), h.double())
                        found[n] += float(second.linear(h.double() * less).square().sum())
        mine = torch.tensor(found, dtype=torch.float64)
        sums: list[float] = self.ranks.summed({("errors",): mine})["errors",].tolist()
        return sums

    def products(self) -> Tensor:
        """Inner products ``<z_i, z_j>`` of what the units add to U, summed over samples and positions. Shape: (units,
        units), float64. Needs ``moments``."""
        found = torch.zeros(self.units, self.units, dtype=torch.float64)
        for k, moments in self._moments.items():
            second = self.seconds[k]
            weight, scale = second.matrix(), second.scale()
            weight = weight if scale is None else weight * scale[:, None]
            pairs = (weight.t() @ weight * moments.products).cpu()
            unit_of = second.taker.unit_of.repeat_interleave(second.repeats())
            inside = (unit_of >= 0).nonzero().flatten()
            rows = torch.zeros(self.units, len(unit_of), dtype=torch.float64)
            rows.index_add_(0, unit_of[inside], pairs[inside])
            found.index_add_(1, unit_of[inside], rows[:, inside])
        return found

    def compensation(self, kept: Tensor, ridge: float) -> dict[str, Tensor]:
        """New values of the tensors of the layers that take the units, by name, so that the kept ones stand in for the
        others. Needs ``moments``. See :func:`niwaki.calibration.compensation.compensated`."""
        found: dict[str, Tensor] = {}
        for numbers in self._by_layer().values():
            moments = Moments.joined([self._moments[k] for k in numbers if k in self._moments])
            found.update(compensated(self.name, [self.seconds[k] for k in numbers], moments, kept, ridge))
        return found

    def scaled(self, kept: Tensor, factor: float) -> dict[str, Tensor]:
        """New weights of the layers that take the units, by name: those of the kept units times ``factor``."""
        found: dict[str, Tensor] = {}
        for numbers in self._by_layer().values():
            second = self.seconds[numbers[0]]
            require_plain(self.name, second, "rescaling")
            found[second.taker.weight] = second.times(second.taker.spread(torch.where(kept, factor, 1.0), 1.0))
        return found

    def _by_layer(self) -> Mapping[int, list[int]]:
        """The numbers of the second parts of each layer: a shared one has several."""
        found: dict[int, list[int]] = {}
        for k, second in enumerate(self.seconds):
            found.setdefault(id(second.taker.module.weight), []).append(k)
        return found


__all__ = ["Activity"]
