"""Our multiply-adds are those that torch's counter finds, and those of kernels that it has no formula for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.graph.rules.contract import steps
from niwaki.testing.counting import KERNELS, counted
from niwaki.testing.families import family
from niwaki.testing.zoo import zoo

PLANTS = {plant.name: plant for plant in zoo()}
FAMILIES = ("lstm", "torch_attention", "torch_encoder", "torch_transformer", "einsum_mixer", "spectral_norm")


@pytest.mark.parametrize("name", PLANTS)
def test_specimens_count_as_they_run(name: str) -> None:
    model, inputs = PLANTS[name].build(), PLANTS[name].inputs()
    assert nk.measure.macs(model, inputs) == counted(model, inputs).total


@pytest.mark.parametrize("name", FAMILIES)
def test_families_count_as_they_run(name: str) -> None:
    each = family(name)
    assert nk.measure.macs(each.build(), each.inputs()) == counted(each.build(), each.inputs()).total


@pytest.mark.parametrize("kernel", ["_grouped_mm", "grouped_mm_fallback"])
def test_experts_count_as_they_run(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch's product of groups, and with that of transformers where torch has none."""
    moe = pytest.importorskip("transformers.integrations.moe")
    if not hasattr(moe, "_can_use_grouped_mm"):
        pytest.skip("this release of transformers multiplies experts otherwise")
    if kernel == "grouped_mm_fallback":
        monkeypatch.setattr(moe, "_can_use_grouped_mm", lambda *args: False)
    elif tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9):
        pytest.skip("this release of torch has none on processors")
    each = family("mixtral")
    found = counted(each.build(), each.inputs())
    assert nk.measure.macs(each.build(), each.inputs()) == found.total
    assert found.unknown[kernel] > found.known  # most of it is what the counter does not see


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)
        return found


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(q * self.scale, k, v)


HAND: dict[str, tuple[nn.Module, tuple[Tensor, ...], Mapping[str, int]]] = {
    # 2 × 5 rows: four projections of 8 × 8, two layers of 8 × 12; scores and values of 2 × 5 × 5 × 8
    "encoder": (
        Encoder(),
        (torch.ones(2, 5, 8),),
        {"_transformer_encoder_layer_fwd": 10 * (4 * 64 + 2 * 96) + 2 * 2 * 25 * 8},
    ),
    # 2 sentences, 3 heads, 5 queries, 7 keys of 4 numbers, values of 6
    "attention": (
        Heads(),
        (torch.ones(2, 3, 5, 4), torch.ones(2, 3, 7, 4), torch.ones(2, 3, 7, 4)),
        {"_scaled_dot_product_flash_attention_for_cpu": 2 * 3 * 5 * 7 * (4 + 4)},
    ),
    # 4 steps of 2: four gates of 6 from 5 inputs and from 6 states
    "lstm": (nn.LSTM(5, 6, batch_first=True), (torch.ones(2, 4, 5),), {"mkldnn_rnn_layer": 8 * 24 * (5 + 6)}),
}


@pytest.mark.parametrize("name", HAND)
def test_what_the_counter_does_not_know_by_hand(name: str) -> None:
    model, inputs, wanted = HAND[name]
    found = counted(model.eval(), inputs)
    assert set(wanted) <= set(KERNELS)
    assert (found.known, found.unknown) == (0, wanted)
    assert nk.measure.macs(model, inputs) == found.total


def test_biases_are_told_beside_it() -> None:
    """6 sums of 3 × 4, and 5 of 2 × 2 pictures; a product without a bias has none."""
    found = counted(nn.Linear(4, 6), torch.ones(3, 4))
    assert (found.operations, found.biases) == ({"addmm": 3 * 4 * 6}, 3 * 6)
    assert counted(nn.Conv2d(2, 5, 1), torch.ones(1, 2, 2, 2)).biases == 5 * 4
    assert counted(nn.Conv2d(2, 5, 1, bias=False), torch.ones(1, 2, 2, 2)).biases == 0


EINSUMS: dict[str, tuple[list[str], str, list[str]]] = {
    "a matrix product": (["ij", "jk"], "ik", ["ijk"]),
    "what only one has is summed before": (["btc", "lc"], "bl", ["bcl"]),
    "a transposition": (["ij"], "ji", []),
    "an outer product sums nothing": (["i", "j"], "ij", []),
    "three, from the left": (["ij", "jk", "kl"], "il", ["ijk", "ikl"]),
    "what a later one needs stays": (["ij", "ij", "ik"], "jk", ["ijk"]),
}


@pytest.mark.parametrize("name", EINSUMS)
def test_einsums_in_steps(name: str) -> None:
    terms, result, wanted = EINSUMS[name]
    assert steps(terms, result) == wanted


@pytest.mark.parametrize("equation", ["bij,bjk->bik", "btc,lc->bl", "ij,jk,kl->il", "ij->ji", "i,j->ij"])
def test_einsums_count_as_torch_runs_them(equation: str) -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, *tensors: Tensor) -> Tensor:
            return torch.einsum(equation, *(t * self.scale for t in tensors))

    sizes = dict(zip("bcijkltl", (2, 3, 4, 5, 6, 7, 8, 7), strict=True))
    inputs = tuple(torch.ones([sizes[c] for c in term]) for term in equation.partition("->")[0].split(","))
    assert nk.measure.macs(Sum(), inputs) == counted(Sum(), inputs).total


def test_rules_are_all_there_whichever_module_of_them_was_imported_first() -> None:
    code = (
        "import torch, niwaki as nk, niwaki.graph.rules.contract\n"
        "assert nk.measure.macs(torch.nn.Conv2d(1, 1, 1), torch.ones(1, 1, 2, 2)) == 4"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
