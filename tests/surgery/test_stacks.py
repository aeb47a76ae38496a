"""Experts in one tensor: dimension 0 numbers matrices, each with rows, columns and inputs of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GptOssConfig, GptOssForCausalLM, MixtralConfig, MixtralForCausalLM

import niwaki as nk
from niwaki.errors import BadInput, NothingToPrune
from niwaki.methods.view import Regularizing
from niwaki.penalties import Lasso, RowColumn, Unevenness
from niwaki.surgery.multiplied import Inputs, inputs_of, matrices
from niwaki.surgery.singles import single_weights
from niwaki.train.copies import Copies
from niwaki.train.pressure import regularize, shrink_

TINY: dict[str, Any] = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "num_local_experts": 3, "head_dim": 8, "max_position_embeddings": 32,
}  # fmt: skip
UP, DOWN = "model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.experts.down_proj"


def mixture(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "outputs first":
        return MixtralForCausalLM(MixtralConfig(**TINY)).eval()
    return GptOssForCausalLM(GptOssConfig(**TINY, layer_types=["full_attention"])).eval()


@pytest.mark.parametrize(("kind", "dim"), [("outputs first", 2), ("inputs first", 1)])
def test_n_of_m_lies_along_the_inputs_of_experts(kind: str, dim: int) -> None:
    model = mixture(kind)
    assert inputs_of(single_weights(model), UP) == Inputs(dim, stacked=True)
    sparse = nk.prune(model, torch.ones(1, 4, dtype=torch.int64), nk.methods.nm(nk.NM("2:4", only="*.experts.*")))
    for name in (UP, DOWN):
        last = sparse.get_parameter(name).movedim(dim, -1)
        assert bool(((last.reshape(-1, 4) != 0).sum(1) == 2).all()), name


class Experts(nn.Module):
    def __init__(self, told: bool | None = None) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 4, 8))
        if told is not None:
            self.is_transposed = told


class Thing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.num_experts = nn.Parameter(torch.randn(3, 4, 8)), 5


def test_where_the_inputs_are_is_told_or_n_of_m_refused() -> None:
    assert inputs_of(single_weights(Experts(True)), "w") == Inputs(1, stacked=True)
    assert inputs_of(single_weights(Experts(False)), "w") == Inputs(2, stacked=True)
    for module in (Experts(), Thing()):
        with pytest.raises(BadInput, match=r"cannot be told of w \(3, 4, 8\): leave them out, skip=\['w'\]"):
            nk.prune(module, torch.ones(1), nk.methods.nm("2:4"))
    assert not inputs_of(single_weights(Thing()), "w").stacked


def test_what_n_of_m_would_pass_over_need_not_be_known() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.layer = nn.Parameter(torch.randn(3, 5, 7)), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + self.w.sum()

    sparse = nk.prune(Beside(), torch.ones(1, 8), nk.methods.nm("2:4"))
    assert int((sparse.layer.weight == 0).sum()) == 32
    assert bool(sparse.w.all())


@pytest.mark.parametrize("penalty", [RowColumn(), RowColumn(scaled=True), Unevenness(), Unevenness(True), Lasso()])
def test_a_penalty_takes_each_expert_for_itself(penalty: Any) -> None:
    weight = Experts(False).w
    weight.grad = torch.zeros_like(weight)
    regularize(Regularizing(penalty, {"w": 0.5}, stacks=frozenset("w")), {"w": weight})
    torch.testing.assert_close(weight.grad, 0.5 * torch.stack([penalty.gradient(each) for each in weight.detach()]))


def test_the_proximal_step_too() -> None:
    weight = Experts(False).w
    weight.grad, before = torch.zeros_like(weight), weight.detach().clone()
    optimizer = torch.optim.SGD([weight], lr=0.1)
    shrink_(Regularizing(RowColumn(), {"w": 20.0}, True, frozenset("w")), {"w": weight}, optimizer, Copies())
    expected = before.clone()
    for each in expected:
        RowColumn().shrink_(each, 2.0)
    torch.testing.assert_close(weight.detach(), expected)
    assert bool((weight == 0).all(2).any())  # whole rows of one expert


def test_spur_and_its_record_see_each_expert() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = Experts(False)

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("bi,eoi->bo", x, self.experts.w)

    torch.manual_seed(0)
    model, seen = Net(), []
    method = nk.methods.spur(0.5, rounds=1, steps=2, alpha=0.1, dense=1)
    run = nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.0), method, torch.ones(1, 8), record=seen.append)
    while not run.finished:
        run.optimizer.zero_grad()
        model(torch.zeros(1, 8)).sum().backward()
        run.before_step()
        added = model.experts.w.grad.clone()
        run.optimizer.step()
        run.after_step()
    kept = model.experts.w.detach()
    expected = torch.stack([RowColumn().gradient(each) for each in kept])
    torch.testing.assert_close(added, 0.1 * expected)
    (row,) = [row for row in seen if row["event"] == "pattern"]
    assert list(row["matrices"]) == ["experts.w[0]", "experts.w[1]", "experts.w[2]"]
    assert row["matrices"]["experts.w[1]"]["rows"] == 4


def test_matrices_are_named_one_by_one() -> None:
    found = dict(matrices({"a": torch.ones(2, 3), "w": torch.ones(2, 3, 4)}, {"w": Inputs(2, stacked=True)}))
    assert {name: tuple(t.shape) for name, t in found.items()} == {"a": (2, 3), "w[0]": (3, 4), "w[1]": (3, 4)}


NOTHING = {
    "skipped": nk.methods.imp(nk.Ratio(0.9, skip="*"), rounds=1, steps=1),
    "spur": nk.methods.spur(nk.Ratio(0.9, only="0.*", skip="*weight"), rounds=1, steps=1, alpha=0.1),
    "N:M": nk.methods.nm(nk.NM("2:4", skip="*")),
    "by pattern": nk.methods.gradual(nk.Ratio({"0.*": 0.5}, only="2.*"), steps=2, every=1),
    "movement": nk.methods.movement(nk.Ratio(0.9, skip="*"), steps=2),
}


@pytest.mark.parametrize("method", NOTHING.values(), ids=NOTHING)
def test_patterns_that_leave_nothing_are_told_before_any_step(method: Any) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    with pytest.raises(NothingToPrune, match=r"leaves no tensor of single weights: 2 are there \(0.weight, 2.weight\)"):
        nk.Pruning(model, torch.optim.SGD(model.parameters(), lr=0.1), method, torch.ones(1, 8))


def test_a_share_of_nothing_is_the_first_point_of_a_sweep() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    for share in (0.0, {"0.*": 0.0}):
        nk.prune(model, torch.ones(1, 8), nk.methods.magnitude(nk.Ratio(share), of="weights"))
