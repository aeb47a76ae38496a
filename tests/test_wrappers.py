"""However a model is wrapped and called: it is traced, cut and certified, and what comes out is the network inside."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.wrappers import bare

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A chain with a residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.inn, self.mid, self.out = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inn(x).relu()
        return self.out(h + self.mid(h).relu())


def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[None]:
    """A process group of one."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def parallel(model: nn.Module) -> nn.Module:
    return nn.DataParallel(model)


def distributed(model: nn.Module) -> nn.Module:
    return nn.parallel.DistributedDataParallel(model)


WRAPPERS = (compiled, parallel, distributed, lambda m: compiled(parallel(m)))


@pytest.mark.usefixtures("lonely")
@pytest.mark.parametrize("wrap", WRAPPERS, ids=["compiled", "parallel", "distributed", "both"])
def test_a_wrapped_model_gives_what_the_model_inside_gives(
    wrap: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain, wrapped = net(), wrap(net())
    graph = nk.trace(wrapped, X)
    assert type(graph.model) is Net
    assert str(graph) == str(nk.trace(plain, X))
    plan = nk.plan(graph)
    assert plan == nk.plan(nk.trace(plain, X))
    caplog.clear()
    small = nk.cut(wrapped, plan)
    assert type(small) is Net
    assert torch.equal(small(X), nk.cut(plain, plan)(X))
    assert [r.levelname for r in caplog.records if r.name == "niwaki"] == ["WARNING"]
    assert "the cut model is of the Net inside. Wrap it again" in caplog.text
    assert bare(wrapped).inn.out_features == 8
    masked = nk.mask(wrapped, plan)
    assert type(masked) is Net
    assert torch.equal(masked(X), nk.mask(plain, plan)(X))
    nk.save(wrap(small), tmp_path / "small")
    assert torch.equal(nk.load(tmp_path / "small", wrapped)(X), small(X))
    assert torch.equal(wrap(small)(X), small(X))


@pytest.mark.parametrize("wrap", [compiled, parallel])
def test_a_wrapped_model_is_pruned_in_one_call_and_in_training(wrap: Callable[..., Any]) -> None:
    small = nk.prune(wrap(net()), X, nk.methods.magnitude(nk.Ratio(0.5)))
    assert type(small) is Net
    assert small.inn.out_features == 4
    model = wrap(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run = nk.Pruning(model, optimizer, nk.methods.greg1(nk.Ratio(0.5), grow=1.0, every=1, hold=1), X)
    while not run.finished:
        optimizer.zero_grad()
        model(X).sum().backward()
        run.step()
    assert bare(model).inn.out_features == 4
    assert torch.equal(model(X), bare(model)(X))


def test_a_model_cut_in_place_runs_in_its_compiled_wrapper() -> None:
    model = net()
    wrapped = compiled(model)
    wrapped(X)
    nk.cut_(wrapped, nk.plan(nk.trace(wrapped, X)))
    assert model.inn.out_features == 4
    assert torch.equal(wrapped(X), model(X))


@pytest.mark.parametrize("warm", [False, True])
def test_models_compiled_in_place_or_in_part_are_traced_as_they_were_written(warm: bool) -> None:
    whole, part = net(), net()
    whole.compile(backend="eager")
    part.mid = compiled(part.mid)
    for model in (whole, part):
        if warm:
            with torch.no_grad():
                model(X)
        plan = nk.plan(nk.trace(model, X))
        assert [c.removed for c in plan.choices.values()] == [
            c.removed for c in nk.plan(nk.trace(net(), X)).choices.values()
        ]
        assert nk.cut(model, plan).inn.out_features == 4


def test_a_bare_model_is_left_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    model = net()
    assert bare(model) is model
    nk.cut(model, nk.plan(nk.trace(model, X)))
    assert not [r for r in caplog.records if r.name == "niwaki"]


def test_a_module_that_only_looks_like_a_wrapper_is_none() -> None:
    class Averaged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = net()

        def forward(self, x: Tensor) -> Tensor:
            return self.module(x) * 2

    model = Averaged()
    assert bare(model) is model
    assert type(nk.trace(model, X).model) is Averaged


# -- how models are called and what they answer -----------------------------------------------------------------------


@dataclass
class Answer:
    """Outputs by name."""

    logits: Tensor
    extra: Tensor | None = None


class Told(Net):
    """Answers in the given shape, to one or two inputs."""

    def __init__(self, answer: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, shift: Tensor | None = None, *, scale: float = 1.0) -> Any:
        y = super().forward(x if shift is None else x + shift) * scale
        return self.answer(y)


def first(y: Any) -> Tensor:
    if isinstance(y, Answer):
        return y.logits
    if isinstance(y, dict):
        return y["logits"]
    return first(y[0]) if isinstance(y, (tuple, list)) else y


ANSWERS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda y: y,
    "tuple": lambda y: (y, y.sum()),
    "list": lambda y: [y, [y + 1]],
    "dict": lambda y: {"logits": y, "loss": y.mean()},
    "dataclass": lambda y: Answer(y),
    "nested": lambda y: (Answer(y, y * 2), {"more": (y,)}),
}
CALLS: dict[str, Any] = {
    "tensor": X,
    "positional": (X,),
    "two": (X, X + 1),
    "list": [X, X + 1],
    "keywords": {"x": X, "shift": X},
    "number": {"x": X, "scale": 2.0},
}


def run(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def proven(model: nn.Module, inputs: Any, tolerance: float = 1e-5) -> Any:
    """Trace, plan, cut, certify."""
    graph = nk.trace(model, inputs)
    plan = nk.plan(graph)
    small = nk.cut(model, plan)
    certificate = nk.certify(model, plan, small, inputs, tolerance=tolerance)
    assert certificate.holds, str(certificate)
    return small


@pytest.mark.parametrize("answer", ANSWERS)
def test_every_kind_of_answer(answer: str) -> None:
    torch.manual_seed(0)
    small = proven(Told(ANSWERS[answer]), X)
    assert small.inn.out_features == 4
    assert first(small(X)).shape == (3, 2)


@pytest.mark.parametrize("call", CALLS)
def test_every_way_to_call(call: str) -> None:
    torch.manual_seed(0)
    small = proven(Told(ANSWERS["tensor"]), CALLS[call])
    assert small.inn.out_features == 4
    assert run(small, CALLS[call]).shape == (3, 2)


def test_hooks_on_modules_run_in_the_trace_and_after_the_cut() -> None:
    model = net()
    seen: list[tuple[int, ...]] = []
    model.mid.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    model.mid.register_forward_hook(lambda m, args, out: out + 1)
    model.inn.register_forward_hook(lambda m, args, out: seen.append(tuple(out.shape)))
    small = proven(model, X)
    seen.clear()
    small(X)
    assert seen == [(3, 4)]


def test_a_hook_that_makes_units_alive_again_is_seen() -> None:
    """The columns that read them go too; but a sum without weights would miss them."""
    model = net()
    model.inn.register_forward_hook(lambda m, args, out: out + 1)
    assert proven(model, X).inn.out_features == 4
    summed = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
    assert isinstance(nk.trace(Summed(summed), X).groups, tuple)
    summed[0].register_forward_hook(lambda m, args, out: out + 1)
    with pytest.raises(nk.errors.NothingToPrune, match="sum"):
        nk.trace(Summed(summed), X)


class Summed(nn.Module):
    """What comes out is a sum over all features."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x).sum(-1, keepdim=True)


def test_a_model_on_meta_is_cut_without_memory() -> None:
    with torch.device("meta"):
        model = Net()
    graph = nk.trace(model, torch.randn(3, 4))
    plan = nk.plan(graph, nk.scores.Random(0))
    small = nk.cut(model, plan)
    assert small.inn.weight.is_meta
    assert small.inn.weight.shape == (4, 4)
    assert nk.cut(net(), plan)(X).shape == (3, 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype) -> None:
    model = net().to(dtype)
    small = proven(model, X.to(dtype), tolerance=1e-5 if dtype is torch.float64 else 5e-2)
    assert small.inn.weight.dtype is dtype
    assert small(X.to(dtype)).dtype is dtype


def test_half_precision_differs_by_its_rounding_only() -> None:
    """What was planned and cut in bfloat16 holds to the usual tolerance when both models are made float again."""
    model = net().to(torch.bfloat16)
    plan = nk.plan(nk.trace(model, X.to(torch.bfloat16)))
    small = nk.cut(model, plan)
    certificate = nk.certify(copy.deepcopy(model).float(), plan, copy.deepcopy(small).float(), X)
    assert certificate.holds


def test_notes_go_to_the_log_of_the_package_and_nowhere_else() -> None:
    assert logging.getLogger("niwaki").handlers == []
