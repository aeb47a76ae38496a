"""A linear layer that holds what is left of its weight: a dense core of some rows × columns, and single entries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from niwaki.packed.sizes import Sizes
from niwaki.packed.split import Split

STEP = 128
"""So many input vectors are taken at once where there are single entries: their table stays in the cache."""
_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # torch 2.6 has but the second


class PackedLinear(nn.Module):
    """``y = W x + b`` with W of (outputs, inputs) given by its parts.

    ``core``: (rows, columns), or (0, 0) if there is none. ``columns``: the inputs that it reads; ``places``: for each
    output the row of the core that gives it, the number of rows if none does. ``values``: the entries outside the core,
    row by row; ``indices``: the input of each; ``starts``: where each output's entries begin (outputs + 1 numbers).
    ``bias``: of all outputs. What a layer does not need is None.

    ``weight`` is the dense weight as the layer once had it, computed when it is read. Parameters train as any others
    do: a zero outside the core stays one, and a zero inside is a weight of the core. It takes and gives what
    ``nn.Linear`` does.
    """

    core: nn.Parameter
    values: nn.Parameter | None
    bias: nn.Parameter | None
    columns: Tensor | None
    places: Tensor | None
    indices: Tensor | None
    starts: Tensor | None

    def __init__(
        self,
        sizes: Sizes,
        bias: nn.Parameter | None = None,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        trains: bool = True,
    ) -> None:
        """Of these sizes, with zeros in it: :meth:`of` and a saved file fill it."""
        super().__init__()
        self.sizes, self.in_features, self.out_features = sizes, sizes.inputs, sizes.outputs
        if sizes.transposed:
            self.nx, self.nf = sizes.inputs, sizes.outputs

        def zeros(*shape: int, of: torch.dtype | None) -> Tensor:
            return torch.zeros(shape, dtype=of, device=device)

        rows, columns = sizes.core
        picks, spreads = rows > 0 and sizes.columns is not None, rows > 0 and sizes.rows is not None
        some = sizes.values > 0
        self.core = nn.Parameter(zeros(rows, columns, of=dtype), trains)
        self.register_parameter("bias", bias)
        self.register_parameter("values", nn.Parameter(zeros(sizes.values, of=dtype), trains) if some else None)
        self.register_buffer("columns", zeros(columns, of=torch.int64) if picks else None)
        self.register_buffer("places", zeros(sizes.outputs, of=torch.int64) if spreads else None)
        self.register_buffer("indices", zeros(sizes.values, of=torch.int32) if some else None)
        self.register_buffer("starts", zeros(sizes.outputs + 1, of=torch.int32) if some else None)

    @staticmethod
    def of(weight: Tensor, parts: Split, bias: nn.Parameter | None, *, transposed: bool, trains: bool) -> PackedLinear:
        """The layer of a matrix. Shape of ``weight``: (outputs, inputs)."""
        sizes = parts.sizes(transposed=transposed)
        layer = PackedLinear(sizes, bias, dtype=weight.dtype, device=weight.device, trains=trains)
        layer._point(parts)
        with torch.no_grad():
            for name, value in layer.parts_of(weight).items():
                layer.get_parameter(name).copy_(value)
        return layer

    def _point(self, parts: Split) -> None:
        if self.columns is not None and parts.columns is not None:
            self.columns.copy_(torch.from_numpy(parts.columns))
        if self.places is not None and parts.rows is not None:
            places = np.full(self.out_features, parts.rows.size)
            places[parts.rows] = np.arange(parts.rows.size)
            self.places.copy_(torch.from_numpy(places))
        if self.indices is not None and self.starts is not None:
            self.indices.copy_(torch.from_numpy(parts.rest.nonzero()[1]))
            self.starts.copy_(torch.from_numpy(np.concatenate([[0], parts.rest.sum(1).cumsum()])))

    # -- the product --------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) to (…, outputs)."""
        if self.values is None and self.places is None:
            return self._columns_only(x)
        flat = x.reshape(-1, self.in_features)
        # An exported program is for all sizes: a choice by the size of the example would fix that size.
        if self.values is None or _exporting() or flat.shape[0] <= STEP:
            y = self._product(flat).contiguous()
        else:
            y = torch.cat([self._product(piece) for piece in flat.split(STEP)])
        return y.reshape(*x.shape[:-1], self.out_features)

    def _columns_only(self, x: Tensor) -> Tensor:
        """All rows read the same inputs; or there is nothing to read."""
        if not self.core.numel():
            y = x.new_zeros((*x.shape[:-1], self.out_features), dtype=_precision(x))
            return y if self.bias is None else y + self.bias.to(y.dtype)
        return F.linear(x if self.columns is None else x.index_select(-1, self.columns), self.core, self.bias)

    def _product(self, x: Tensor) -> Tensor:
        """(count, inputs) to (count, outputs), a transposed view: with one vector a column, whole rows are gathered,
        added and put in their places, which is far quicker than single numbers (in ONNX Runtime too)."""
        vectors = x.t()
        y = self._core_rows(vectors) if self.core.numel() else None
        if self.values is not None:
            rest = self._rest_rows(vectors)
            y = rest.to(_precision(x)) if y is None else y + rest.to(y.dtype)
        assert y is not None
        return (y if self.bias is None else y + self.bias.to(y.dtype)[:, None]).t()

    def _core_rows(self, vectors: Tensor) -> Tensor:
        y = self.core @ (vectors if self.columns is None else vectors.index_select(0, self.columns))
        if self.places is None:
            return y
        return torch.cat([y, y.new_zeros(1, y.shape[1])]).index_select(0, self.places)

    def _rest_rows(self, vectors: Tensor) -> Tensor:
        """Each output is the sum of a bag of inputs, each times its entry."""
        assert self.values is not None
        assert self.indices is not None
        table = vectors.to(self.values.dtype) if torch.is_autocast_enabled(vectors.device.type) else vectors
        return F.embedding_bag(
            self.indices,
            table.contiguous(),
            self.starts,
            mode="sum",
            per_sample_weights=self.values,
            include_last_offset=True,
        )

    # -- the matrix ---------------------------------------------------------------------------------------------------

    @property
    def weight(self) -> Tensor:
        """The dense weight, as the layer had it before; reading it computes it."""
        whole = self.core.new_zeros(self.out_features, self.in_features)
        for name, place in self._where().items():
            whole = whole.index_put(place, self.get_parameter(name).flatten())
        return whole.t() if self.sizes.transposed else whole

    def parts_of(self, weight: Tensor) -> dict[str, Tensor]:
        """What the layer holds of a matrix (its weight, or the gradient of that), by parameter name.

        Shape of ``weight``: (outputs, inputs)."""
        return {name: weight[place].reshape(self.get_parameter(name).shape) for name, place in self._where().items()}

    def _where(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Row and column of every entry of each parameter."""
        found: dict[str, tuple[Tensor, Tensor]] = {}
        if self.core.numel():
            device, (count, width) = self.core.device, self.core.shape
            rows = torch.arange(count, device=device)
            if self.places is not None:
                rows = (self.places < count).nonzero().flatten()
            columns = torch.arange(width, device=device) if self.columns is None else self.columns
            found["core"] = rows.repeat_interleave(width), columns.repeat(count)
        if self.indices is not None and self.starts is not None:
            rows = torch.arange(self.out_features, device=self.indices.device)
            found["values"] = rows.repeat_interleave(self.starts.diff().long()), self.indices.long()
        return found

    def faults(self) -> Iterator[str]:
        """What cannot be meant in the indices (of a file, say), in words."""
        if self.columns is not None and not _ascends(self.columns, self.in_features):
            yield f"'columns' must ascend from 0 to at most {self.in_features - 1}"
        if self.places is not None:
            count = len(self.core)
            rows = self.places[self.places != count]
            if not torch.equal(rows, torch.arange(count, device=rows.device)):
                yield f"'places' must give each of {count} rows one place, in their order"
        if self.indices is not None and self.starts is not None:
            if int(self.indices.min()) < 0 or int(self.indices.max()) >= self.in_features:
                yield f"'indices' must be from 0 to {self.in_features - 1}"
            ends = int(self.starts[0]) == 0 and int(self.starts[-1]) == len(self.indices)
            if not ends or bool((self.starts.diff() < 0).any()):
                yield f"'starts' must ascend from 0 to {len(self.indices)}"

    def extra_repr(self) -> str:
        rows, columns = self.sizes.core
        text = f"{self.in_features} → {self.out_features}, core {rows} × {columns}, {self.sizes.values} single entries"
        return text + ("" if self.bias is not None else ", no bias")


def _precision(x: Tensor) -> torch.dtype:
    """Of what a linear layer gives for ``x``."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _ascends(index: Tensor, most: int) -> bool:
    return int(index[0]) >= 0 and int(index[-1]) < most and bool((index.diff() > 0).all())


__all__ = ["PackedLinear"]
