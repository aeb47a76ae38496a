"""What cannot be traced is refused in a sentence that says what was found."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput, NothingToPrune, StalePlan, UntraceableModel
from niwaki.surgery.certify import certify
from tests.graph.nets import Net


def convnet() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 3))


@pytest.mark.parametrize(
    "shape", [(2, 4, 8, 8), (2, 8), (2, 3, 1, 1)], ids=["channels", "rank", "smaller than the kernel"]
)
def test_inputs_that_the_model_refuses_are_reported_with_their_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(UntraceableModel) as told:
        nk.trace(convnet(), torch.ones(shape))
    text = str(told.value)
    assert text.startswith(f"Sequential could not be run on the inputs given (positional ({shape},), keywords {{}})")
    assert text.endswith("Check that model(*inputs) works by itself.")
    assert isinstance(told.value.__cause__, Exception)


def test_too_many_arguments_and_unknown_keywords_are_reported() -> None:
    with pytest.raises(UntraceableModel, match="TypeError"):
        nk.trace(convnet(), (torch.ones(2, 3, 8, 8), torch.ones(1)))
    with pytest.raises(UntraceableModel, match=r"keywords \{'pixels': \(2, 3, 8, 8\)\}"):
        nk.trace(convnet(), {"pixels": torch.ones(2, 3, 8, 8)})


@pytest.mark.parametrize("inputs", [None, 3, "image", {1, 2}])
def test_inputs_of_another_kind_are_refused(inputs: Any) -> None:
    found = f"inputs must be a tensor, a tuple .* or a dict .*, not {type(inputs).__name__}"
    with pytest.raises(BadInput, match=found):
        nk.trace(convnet(), inputs)


@pytest.mark.parametrize("model", [None, 3, torch.ones(2), nn.Linear, lambda x: x])
def test_what_is_no_module_is_refused(model: Any) -> None:
    with pytest.raises(BadInput, match=f"model must be a torch.nn.Module, not {type(model).__name__}"):
        nk.trace(model, torch.ones(2, 4))


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(BadInput, match="ReLU has no parameters: there is nothing to prune"):
        nk.trace(nn.ReLU(), torch.ones(2, 4))


def test_a_single_layer_has_nothing_to_give() -> None:
    with pytest.raises(NothingToPrune, match=r"nothing in Linear can be pruned\. The biggest causes: \(1\)"):
        nk.trace(nn.Linear(4, 3), torch.ones(2, 4))


@pytest.mark.parametrize("kind", [torch.float64, torch.int64, torch.complex64])
def test_inputs_of_another_type_than_the_weights_are_reported(kind: torch.dtype) -> None:
    with pytest.raises(UntraceableModel, match=r"\(2, 3, 8, 8\).*should be the same") as told:
        nk.trace(convnet(), torch.ones(2, 3, 8, 8, dtype=kind))
    assert told.value.module == "0"


def test_a_missing_argument_is_reported() -> None:
    with pytest.raises(UntraceableModel, match=r"TypeError: .* missing 1 required positional argument"):
        nk.trace(convnet(), ())


class Fussy(nn.Module):
    """Fails before it computes anything."""

    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("no such table")


def failure() -> UntraceableModel:
    with pytest.raises(UntraceableModel, match="KeyError: 'no such table'") as told:
        nk.trace(nn.Sequential(nn.Linear(4, 6), Fussy()), torch.ones(2, 4))
    return told.value


def test_an_error_of_the_users_own_is_passed_on() -> None:
    assert isinstance(failure().__cause__, KeyError)


def test_the_module_that_failed_is_named() -> None:
    assert failure().module == "1"


def test_weights_that_are_not_there_yet_are_reported() -> None:
    with pytest.raises(UntraceableModel, match="uninitialized parameter"):
        nk.trace(nn.Sequential(nn.LazyLinear(6), nn.Linear(6, 3)), torch.ones(2, 4))


@pytest.mark.parametrize(("model_on", "inputs_on"), [("cpu", "meta"), ("meta", "cpu"), ("meta", "meta")])
def test_shapes_are_enough_for_a_trace(model_on: str, inputs_on: str) -> None:
    """Nothing is computed, so that no values are needed, of the model or of the inputs."""
    graph = nk.trace(convnet().to(model_on), torch.ones(2, 3, 8, 8, device=inputs_on))
    assert [(g.name, len(g)) for g in graph.groups] == [("0", 6)]


def test_shapes_are_not_enough_where_values_are_read() -> None:
    net = Net(lambda n, x: n.b(n.a(x)) * (2 if float(x.sum()) > 0 else 1), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    assert nk.trace(net, torch.ones(2, 4)).observation.real
    with pytest.raises(UntraceableModel, match="could not be run on the inputs given"):
        nk.trace(net, torch.ones(2, 4, device="meta"))


def test_buffers_alone_are_nothing_to_prune() -> None:
    with pytest.raises(BadInput, match="BatchNorm1d has no parameters: there is nothing to prune"):
        nk.trace(nn.BatchNorm1d(4, affine=False), torch.ones(2, 4))


def test_an_output_without_tensors_has_nothing_to_give() -> None:
    with pytest.raises(NothingToPrune, match=r"\(1\) 'a.weight' was not used in the forward pass"):
        nk.trace(Net(lambda n, x: None, a=nn.Linear(4, 6)), torch.ones(2, 4))


# -- a plan of another model ------------------------------------------------------------------------------------------


OTHERS: dict[str, tuple[Any, str]] = {
    "wider": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)),
        r"'0.weight' has shape \(8, 3, 3, 3\) here, \(6, 3, 3, 3\) in the plan",
    ),
    "longer": (
        lambda: nn.Sequential(*convnet(), nn.Conv2d(2, 2, 1)),
        "this one has a tensor '3.weight' that the plan does not know",
    ),
    "shorter": (lambda: convnet()[:2], "it knows a tensor '2.weight' that this model lacks"),
    "without a bias": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.Conv2d(6, 2, 3)),
        "it knows a tensor '0.bias' that this model lacks",
    ),
    "cut already": (
        lambda: nk.cut(convnet(), plan_of_convnet()),
        r"'0.weight' has shape \(3, 3, 3, 3\) here \(it has been cut already\), \(6, 3, 3, 3\)",
    ),
}


def plan_of_convnet() -> nk.Plan:
    return nk.plan(nk.trace(convnet(), torch.ones(2, 3, 8, 8)))


@pytest.mark.parametrize("act", [nk.mask, nk.cut, nk.cut_], ids=["mask", "cut", "cut_"])
@pytest.mark.parametrize("name", OTHERS)
def test_a_plan_of_another_model_names_the_first_difference(name: str, act: Any) -> None:
    build, text = OTHERS[name]
    other = build()
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(StalePlan, match=f"the plan is of another model: {text}"):
        act(other, plan_of_convnet())
    after = other.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_a_certificate_of_another_model_is_refused() -> None:
    net, plan = convnet(), plan_of_convnet()
    small = nk.cut(net, plan)
    with pytest.raises(StalePlan, match=r"'0.weight' has shape \(8, 3, 3, 3\) here"):
        certify(OTHERS["wider"][0](), plan, small, torch.ones(2, 3, 8, 8))
    with pytest.raises(UntraceableModel, match=r"positional \(\(2, 8\),\)"):
        certify(net, plan, small, torch.ones(2, 8))


@pytest.mark.parametrize("act", [nk.mask, nk.cut, nk.cut_], ids=["mask", "cut", "cut_"])
@pytest.mark.parametrize(("model", "plan"), [(3, None), (None, {}), (None, "plan.json")])
def test_what_is_no_model_or_no_plan_is_refused(act: Any, model: Any, plan: Any) -> None:
    with pytest.raises(BadInput):
        act(convnet() if model is None else model, plan_of_convnet() if plan is None else plan)


def test_a_failing_model_is_left_in_its_own_mode() -> None:
    net = convnet().train()
    with pytest.raises(UntraceableModel):
        nk.trace(net, torch.ones(2, 8))
    assert all(m.training for m in net.modules())


# -- a model that works by itself -------------------------------------------------------------------------------------


def with_a_lock() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    model[1].lock = threading.Lock()
    return model


def with_gradients() -> nn.Module:
    def forces(n: Any, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(n.b(n.a(x).tanh()).sum(), x, create_graph=True)[0]

    return Net(forces, a=nn.Linear(4, 6), b=nn.Linear(6, 1))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (with_a_lock, r"It works by itself, .* its attribute '1\.lock' \(lock\) cannot be copied: give that class"),
        (with_gradients, r"It works by itself, .* forward must not use autograd \(torch\.autograd\.grad, backward\)"),
    ],
)
def test_a_model_that_works_by_itself_is_told_what_it_lacks(build: Any, text: str) -> None:
    with pytest.raises(UntraceableModel, match=text) as told:
        nk.trace(build(), torch.ones(2, 4))
    assert "Check that" not in str(told.value)


def test_a_failing_trace_writes_to_neither_model_nor_inputs() -> None:
    class Differs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.seen = nn.Linear(4, 4), []

        def forward(self, x: Tensor) -> Tensor:
            x.mul_(2)
            self.seen.append(self.a(x))
            return torch.autograd.grad(self.seen[-1].sum(), self.a.weight)[0]

    model, x = Differs(), torch.ones(2, 4)
    with pytest.raises(UntraceableModel, match="forward must not use autograd"):
        nk.trace(model, x)
    assert torch.equal(x, torch.ones(2, 4))
    assert model.seen == []


def test_only_a_trace_runs_the_model_to_give_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[nn.Module] = []
    monkeypatch.setattr("niwaki.graph.observe.advice", lambda model, *_: asked.append(model))

    def halves(n: Any, x: Tensor) -> Tensor:
        return n.d(n.c(n.b(n.a(x)).view(-1, 6)))

    layers = {"a": nn.Linear(4, 5), "b": nn.Linear(5, 6), "c": nn.Linear(6, 5), "d": nn.Linear(5, 2)}
    model = Net(halves, **layers)
    assert nk.trace(model, torch.ones(2, 4)).denied  # by tries of the dry run that fail
    assert asked == []
    with pytest.raises(UntraceableModel):
        nk.trace(model, torch.ones(2, 7))
    assert asked == [model]


def test_a_model_that_reads_values_and_writes_to_its_input_leaves_the_input_as_it_was() -> None:
    def forward(n: Any, x: Tensor) -> Tensor:
        x.sub_(1.0)
        return n.b(n.a(x)) if x.sum().item() < 1e9 else x

    x = torch.ones(2, 4)
    graph = nk.trace(Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 4)), x)
    assert [len(group) for group in graph.groups] == [6]
    assert torch.equal(x, torch.ones(2, 4))


def test_queries_that_share_no_keys_do_not_end_the_process() -> None:
    """torch 2.6 divides by the number of key heads in whole numbers, which no ``except`` sees."""
    calls: list[int] = []

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            q, k = (layer(x).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (self.q, self.k))
            calls.append(1)
            k = k[:, 2:] if len(calls) == 1 else k  # the first call is the one that is watched
            return nn.functional.scaled_dot_product_attention(q, k, k, scale=1.0, enable_gqa=True)

    graph = nk.trace(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 8), Shared()), torch.randn(2, 3, 8))
    assert graph.observation.real  # the pass on fake tensors has failed, and one on real ones was watched
    assert "0" in {group.name for group in graph.groups}
