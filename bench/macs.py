"""Our multiply-adds against public counters.   python bench/macs.py

Networks of published size on the meta device (no weights), and tiny ones that really run, so that torch chooses its
fast kernels. Each is counted by ``nk.measure.macs``, by ``torch.utils.flop_counter`` (half of its operations) and,
where it is installed, by ptflops. Every difference is taken apart: the kernels that torch's counter has no formula for
are found as they run, and counted from their shapes; ptflops also counts the biases of products, and knows fewer
operations. What is left over then is kept too, and is to be 0. A network's row is kept when it is done; what is there
is not made again, unless with --again.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from big_cases import FAMILIES
from ledger import RESULTS, keep
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import niwaki as nk
from niwaki.graph.observe import call_arguments
from niwaki.testing.counting import counted
from niwaki.testing.families import family

FAKELESS = ("mixtral",)
"""Not counted in their published size: their products of experts cannot be run without memory, but in bfloat16."""
TINY = (
    *("mixtral", "mixtral_loop", "qwen3_moe", "gpt_oss", "deepseek_v3"),
    *("lstm", "recurrent_gemma", "torch_attention", "torch_encoder", "torch_transformer"),
    *("bert", "gpt2", "llama", "t5", "vit", "detr", "wav2vec2", "perceiver", "einsum_mixer", "spectral_norm"),
)


UNKNOWN_TO_PTFLOPS = ("baddbmm",)
"""Operations that torch's counter knows, and ptflops does not."""


@dataclass(frozen=True)
class Row:
    """One network. ``size``: published or tiny."""

    name: str
    size: str
    build: Callable[[], nn.Module | None]
    inputs: Callable[[], Any]


def rows() -> Iterator[Row]:
    for name in TINY:
        each = family(name)
        yield Row(name, "tiny", each.build, each.inputs)
    for case in FAMILIES:
        if case.name not in FAKELESS:
            yield Row(case.label, "published", case.build, case.inputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+", help="only these, by their names in the table")
    parser.add_argument("--again", action="store_true")
    options, path = parser.parse_args(), RESULTS / "macs.json"
    raw = {} if options.again or not path.is_file() else json.loads(path.read_text())["raw"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's code: what falls back on slow kernels says so
        for row in rows():
            key = f"{row.name}, {row.size}"
            if key in raw or (options.network and row.name not in options.network):
                continue
            raw[key] = one(row)
            keep("macs", figures(raw), raw)


def figures(raw: dict[str, dict[str, Any]]) -> dict[str, Any]:
    known = [row for row in raw.values() if row["ptflops"] is not None]
    return {
        "networks": len(raw),
        "equal_to_torch": sum(row["niwaki"] == row["torch"] for row in raw.values()),
        "explained": sum(row["niwaki"] != row["torch"] and not row["unexplained"] for row in raw.values()),
        "unexplained": sum(bool(row["unexplained"]) for row in raw.values()),
        "ptflops": version("ptflops") if known else None,
        "ptflops_networks": len(known),
        "ptflops_explained": sum(not row["ptflops_unexplained"] for row in known),
    }


def one(row: Row) -> dict[str, Any]:
    model, inputs = row.build(), row.inputs()
    assert model is not None
    ours, found = nk.measure.macs(model, inputs), counted(model, inputs)
    theirs = ptflops(model, inputs)
    unknown = {name: n for name, n in found.operations.items() if name in UNKNOWN_TO_PTFLOPS}
    return {
        "niwaki": ours,
        "torch": found.known,
        "unknown_to_torch": dict(found.unknown),
        "unexplained": ours - found.total,
        "ptflops": theirs,
        "biases": found.biases,
        "unknown_to_ptflops": unknown,
        "ptflops_unexplained": None if theirs is None else theirs + sum(unknown.values()) - found.known - found.biases,
    }


def ptflops(model: nn.Module, inputs: Any) -> int | None:
    """By its counter of ATen's operations, without gradients as we count; None where it is not installed."""
    if not find_spec("ptflops"):
        return None
    from ptflops import get_model_complexity_info

    device = next(p.device for p in model.parameters())
    args, kwargs = tree_map(lambda t: t.to(device) if isinstance(t, Tensor) else t, call_arguments(inputs))
    logging.disable()
    with torch.no_grad():
        found, _ = get_model_complexity_info(
            Called(model, args, kwargs),
            (1,),
            input_constructor=lambda _: {"x": torch.zeros(1, device=device)},
            as_strings=False,
            print_per_layer_stat=False,
            backend="aten",
        )
    return found


class Called(nn.Module):
    """A model with its inputs: ptflops knows no others than one tensor, or keywords."""

    def __init__(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        super().__init__()
        self.model, self.arguments = model, (args, kwargs)

    def forward(self, x: Tensor) -> Any:
        args, kwargs = self.arguments
        return self.model(*args, **kwargs)


if __name__ == "__main__":
    main()
