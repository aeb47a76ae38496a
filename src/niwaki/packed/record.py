"""The record of a packing: what was removed, what was left and why, which form each layer has and what decided it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from niwaki.errors import BrokenFile
from niwaki.packed.sizes import Sizes
from niwaki.packed.split import FORMS
from niwaki.replacing import replacing

FORMAT, VERSION = "niwaki.packing", 1


@dataclass(frozen=True)
class Removed:
    """Units of one group that were dead and are gone.

    ``group``, ``kind``: as in the coupling graph. ``units``: how many it had. ``unread``: nothing reads them;
    ``silent``: they give zeros, whatever comes in; ``constant``: they give one other number, which the biases of their
    readers now hold.
    """

    group: str
    kind: str
    units: int
    unread: int = 0
    silent: int = 0
    constant: int = 0

    @property
    def count(self) -> int:
        return self.unread + self.silent + self.constant

    def __str__(self) -> str:
        parts = ((self.unread, "unread"), (self.silent, "silent"), (self.constant, "constant"))
        told = ", ".join(f"{n} {what}" for n, what in parts if n)
        return f"{self.group}: {self.count} of {self.units} × {self.kind} ({told})"


@dataclass(frozen=True)
class Left:
    """Units of one group that look dead and are still there, and why."""

    group: str
    kind: str
    count: int
    reason: str

    def __str__(self) -> str:
        return f"{self.group}: {self.count} × {self.kind}: {self.reason}"


@dataclass(frozen=True)
class PackedLayer:
    """One linear layer: its ``form``, what it holds, and why.

    ``zeros``: share of the weight's entries that are zero, 0 to 1. ``input``: shape of what it is called with.
    ``cost``: by form; medians in milliseconds if the packing was measured, or else counted multiply-adds for one input
    vector.
    """

    name: str
    form: str
    sizes: Sizes
    zeros: float
    reason: str
    input: tuple[int, ...] = ()
    cost: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_packed(self) -> bool:
        return self.form != "dense"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "sizes": self.sizes.to_json(), "input": list(self.input), "cost": dict(self.cost)}


@dataclass(frozen=True)
class Packing:
    """What :func:`niwaki.pack` did to a model. ``str()`` gives a table.

    ``measured``: the forms were chosen by time. ``whole``: milliseconds of one call of the whole model, ``"dense"`` and
    ``"packed"``, where that was measured. ``note``: what concerns all of it. ``environment``: torch, threads, device.
    """

    layers: tuple[PackedLayer, ...] = ()
    removed: tuple[Removed, ...] = ()
    left: tuple[Left, ...] = ()
    measured: bool = False
    whole: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def forms(self) -> dict[str, str]:
        """Form by name of the layers that are packed: give it to ``nk.pack(…, forms=…)`` for the same again."""
        return {layer.name: layer.form for layer in self.layers if layer.is_packed}

    def __getitem__(self, name: str) -> PackedLayer:
        found = next((layer for layer in self.layers if layer.name == name), None)
        if found is None:
            raise KeyError(f"no linear layer is called {name!r}; there are {', '.join(x.name for x in self.layers)}")
        return found

    # -- JSON ---------------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "measured": self.measured,
            "note": self.note,
            "whole": dict(self.whole),
            "environment": dict(self.environment),
            "removed": [asdict(r) for r in self.removed],
            "left": [asdict(r) for r in self.left],
            "layers": [layer.to_json() for layer in self.layers],
        }

    @staticmethod
    def from_json(data: Any) -> Packing:
        """The packing in ``data``; anything malformed or out of range is a :class:`BrokenFile`."""
        try:
            return _from_json(data)
        except (KeyError, TypeError, AttributeError, ValueError) as trouble:
            raise BrokenFile(f"not a usable packing: {trouble}") from trouble

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, whole or not at all. Returns the path."""
        path = Path(path)
        with replacing(path) as part:
            part.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")
        return path

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Packing:
        """Read it. Raises :class:`BrokenFile` if it is missing, truncated or says what cannot be."""
        path = Path(path)
        if not path.is_file():
            raise BrokenFile(f"no packing at {path}")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as trouble:
            raise BrokenFile(f"{path} is not readable JSON (truncated?): {trouble}") from trouble
        return Packing.from_json(data)

    # -- text ---------------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        packed = sum(layer.is_packed for layer in self.layers)
        gone = sum(r.count for r in self.removed)
        lines = [
            f"Packed {packed} of {len(self.layers)} linear layers; {gone} dead units removed. {self.note}".rstrip()
        ]
        lines += [f"  removed {r}" for r in self.removed]
        lines += [f"  left {r}" for r in self.left]
        if self.whole:
            lines.append("  whole model: " + " → ".join(f"{ms:.3g} ms {name}" for name, ms in self.whole.items()))
        return "\n".join([*lines, *_table(self.layers, self.measured)])


def _table(layers: Iterable[PackedLayer], measured: bool) -> list[str]:
    unit = "ms" if measured else "adds"
    head = ("layer", "matrix", "zeros", "form", "core", "single", f"dense {unit}", f"now {unit}", "why")
    rows: list[tuple[str, ...]] = [head]
    rows += [_row(layer) for layer in layers]
    if len(rows) == 1:
        return []
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]) - 1)]
    return ["  " + "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]


def _row(layer: PackedLayer) -> tuple[str, ...]:
    sizes, packed = layer.sizes, layer.is_packed
    dense, now = (layer.cost.get(name) for name in ("dense", layer.form))
    return (
        layer.name,
        f"{sizes.outputs} × {sizes.inputs}",
        f"{layer.zeros:.0%}",
        layer.form,
        f"{sizes.core[0]} × {sizes.core[1]}" if packed else "",
        f"{sizes.values:,}" if packed else "",
        "" if dense is None else f"{dense:.4g}",
        "" if now is None or not packed else f"{now:.4g}",
        layer.reason,
    )


def _from_json(data: Any) -> Packing:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"expected an object with format {FORMAT!r}")
    if data.get("version") != VERSION:
        raise ValueError(f"version {data.get('version')!r} is not {VERSION}; this file needs another release of niwaki")
    layers = tuple(_layer(row) for row in data["layers"])
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        raise ValueError("a layer appears twice")
    return Packing(
        layers,
        tuple(Removed(**row) for row in data["removed"]),
        tuple(Left(**row) for row in data["left"]),
        bool(data["measured"]),
        dict(data["whole"]),
        str(data["note"]),
        dict(data["environment"]),
    )


def _layer(row: Any) -> PackedLayer:
    name, form = row["name"], row["form"]
    if not isinstance(name, str) or form not in FORMS:
        raise ValueError(f"a layer {name!r} of form {form!r}; forms are {', '.join(FORMS)}")
    sizes = Sizes.from_json(row["sizes"])
    return PackedLayer(
        name, form, sizes, float(row["zeros"]), str(row["reason"]), tuple(row["input"]), dict(row["cost"])
    )


__all__ = ["Left", "PackedLayer", "Packing", "Removed"]
