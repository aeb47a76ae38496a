"""``measurements.json``: sizes, work, memory, accuracy and latency, before and after; nothing that was not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from niwaki import measure
from niwaki.artefact.surroundings import machine
from niwaki.graph.observe import Inputs
from niwaki.measure.size import batch_size
from niwaki.report import Latency

UNITS = {
    "parameters": "number of parameters, shared ones once",
    "nonzero_parameters": "number of parameters that are not zero",
    "macs": "multiply-adds of one sample: convolutions, linear layers, matrix products, attention",
    "activation_bytes": "bytes of results alive at once, at most, in a forward pass on the whole batch",
    "peak_bytes": "bytes of parameters, buffers, inputs and activations in that pass",
    "file_bytes": "bytes of all tensors in model.safetensors",
    "accuracy": "share from 0 to 1, by the recipe's own function",
    "accuracy_is": "what that function measures, where it is no share of right answers",
    "latency": "milliseconds of one call on the whole batch; spread_ms is the width of the middle half of the runs",
}


@dataclass(frozen=True)
class Measured:
    """One network in figures, in the units of ``UNITS``; None (or nothing) is what was not measured. ``accuracy_is``:
    the name of what ``accuracy`` is of, if it is another measure (F1, say)."""

    parameters: int | None = None
    nonzero_parameters: int | None = None
    macs: int | None = None
    activation_bytes: int | None = None
    peak_bytes: int | None = None
    file_bytes: int | None = None
    accuracy: float | None = None
    latency: Sequence[Latency] = ()
    accuracy_is: str | None = None

    @staticmethod
    def of(
        model: nn.Module,
        inputs: Inputs | None = None,
        *,
        accuracy: float | None = None,
        latency: Sequence[Latency] = (),
    ) -> Measured:
        """Count what depends on the model alone and, given ``inputs``, work and memory. No clock runs here."""
        counts: dict[str, Any] = {"parameters": measure.params(model), "nonzero_parameters": measure.nonzero(model)}
        counts["file_bytes"] = measure.file_bytes(model)
        if inputs is not None:
            counts["macs"] = measure.macs(model, inputs) // batch_size(inputs)
            counts["activation_bytes"] = measure.activations(model, inputs)
            counts["peak_bytes"] = measure.peak_memory(model, inputs)
        return Measured(**counts, accuracy=accuracy, latency=tuple(latency))

    def to_json(self) -> dict[str, Any]:
        found = {key: value for key, value in asdict(self).items() if value is not None and key != "latency"}
        return found | ({"latency": [each.to_json() for each in self.latency]} if self.latency else {})


@dataclass(frozen=True)
class Measurements:
    """The pruned network, and the dense one if it was measured. ``batch``: samples in the inputs of these figures."""

    after: Measured
    before: Measured | None = None
    batch: int | None = None

    def to_json(self) -> dict[str, Any]:
        told = {"before": self.before.to_json()} if self.before is not None else {}
        told["after"] = self.after.to_json()
        used = {key for figures in told.values() for key in figures}
        batch = {} if self.batch is None else {"batch": self.batch}
        return {"machine": machine(), **batch, "units": {k: v for k, v in UNITS.items() if k in used}, **told}


__all__ = ["UNITS", "Measured", "Measurements"]
