"""What a cut leaves: tensors, module attributes, gradients, optimizer state; and what it refuses to touch."""

from __future__ import annotations

import warnings
from collections import namedtuple
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import CannotFollow, StalePlan
from niwaki.surgery.beside import MANY, held_beside
from niwaki.surgery.modules import ADAPTERS
from niwaki.surgery.slices import select
from niwaki.units import Axis, Plan
from tests.graph.nets import Net, image, tokens


def by_hand(model: nn.Module, **gone: dict[int, tuple[int, ...]]) -> Plan:
    """A plan from ``a_weight={0: (1,)}``, an underscore for the dot."""
    shapes = {n: tuple(t.shape) for n, t in [*model.named_parameters(), *model.named_buffers()]}
    removed = {Axis(n.replace("__", "."), d): i for n, dims in gone.items() for d, i in dims.items()}
    return Plan(shapes, removed)


def mlp() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.arange(8.0).reshape(4, 2))
        net[0].bias.copy_(torch.arange(4.0))
        net[2].weight.copy_(torch.arange(8.0).reshape(2, 4))
    return net


def middle(*gone: int) -> Plan:
    """Removes hidden units of the net above."""
    return by_hand(mlp(), **{"0__weight": {0: gone}, "0__bias": {0: gone}, "2__weight": {1: gone}})


def test_a_cut_takes_the_entries_that_the_plan_names() -> None:
    dense = mlp()
    small = nk.cut(dense, middle(0, 2))
    assert small[0].weight.tolist() == [[2.0, 3.0], [6.0, 7.0]]
    assert small[0].bias.tolist() == [1.0, 3.0]
    assert small[2].weight.tolist() == [[1.0, 3.0], [5.0, 7.0]]
    assert (small[0].out_features, small[2].in_features) == (2, 2)
    assert dense[0].weight.shape == (4, 2)
    assert dense[0].out_features == 4


def test_a_mask_zeroes_the_same_entries_and_nothing_else() -> None:
    dense = mlp()
    masked = nk.mask(dense, middle(0, 2))
    assert masked[0].weight.tolist() == [[0.0, 0.0], [2.0, 3.0], [0.0, 0.0], [6.0, 7.0]]
    assert masked[0].bias.tolist() == [0.0, 1.0, 0.0, 3.0]
    assert masked[2].weight.tolist() == [[0.0, 1.0, 0.0, 3.0], [0.0, 5.0, 0.0, 7.0]]
    assert dense[0].weight.tolist() == torch.arange(8.0).reshape(4, 2).tolist()


def test_the_receipt_counts_what_changed() -> None:
    receipt = nk.cut_(mlp(), middle(0, 2))
    assert receipt.tensors == {"0.weight": ((4, 2), (2, 2)), "0.bias": ((4,), (2,)), "2.weight": ((2, 4), (2, 2))}
    assert str(receipt) == "cut 3 tensors from 20 to 10 entries"


def test_gradients_and_settings_go_along() -> None:
    net = mlp()
    net(torch.ones(1, 2)).sum().backward()
    net[0].bias.requires_grad_(False)
    grad = net[2].weight.grad
    assert grad is not None
    kept = grad[:, [1, 3]].clone()
    nk.cut_(net, middle(0, 2))
    assert torch.equal(net[2].weight.grad, kept)
    assert [p.requires_grad for p in net.parameters()] == [True, False, True, True]


def test_a_shared_parameter_stays_shared() -> None:
    net = nn.ModuleDict({"a": nn.Linear(3, 4, bias=False), "b": nn.Linear(3, 4, bias=False)})
    net["b"].weight = net["a"].weight
    plan = Plan({"a.weight": (4, 3)}, {Axis("a.weight", 0): (1,)}, aliases={"b.weight": "a.weight"})
    nk.cut_(net, plan)
    assert net["a"].weight is net["b"].weight
    assert (net["a"].out_features, net["b"].out_features) == (3, 3)


@pytest.mark.parametrize("form", [torch.channels_last, torch.channels_last_3d], ids=str)
def test_channels_last_stays_channels_last(form: torch.memory_format) -> None:
    spatial = (3, 3) if form is torch.channels_last else (3, 3, 3)
    weight = torch.randn(4, 6, *spatial).to(memory_format=form)
    found = select(weight, {0: (1,), 1: (0, 5)})
    assert found.shape == (3, 4, *spatial)
    assert found.is_contiguous(memory_format=form)
    assert torch.equal(found, weight[[0, 2, 3]][:, 1:5])


class Own(nn.Parameter):
    """A class of the user's own."""


@pytest.mark.parametrize(
    "act", [nk.cut, lambda net, plan: nk.cut_(net, plan) and net, nk.mask], ids=["cut", "_", "mask"]
)
def test_what_is_kept_on_a_tensor_and_its_class_go_along(act: Any) -> None:
    net = mlp()
    net[0].bias = Own(torch.arange(4.0))
    net[0].register_buffer("table", torch.arange(4.0))
    for t in (net[0].bias, net[0].table, net[2].weight, net[2].bias):
        t.kind, t.importance = "slow", t.detach() + 1
    found = act(net, by_hand(net, **{"0__weight": {0: (1,)}, "0__table": {0: (1,)}, "0__bias": {0: (1,)}}))
    assert type(found[0].bias) is Own
    assert found[0].bias.requires_grad
    assert found[0].bias.is_leaf
    for t in (found[0].bias, found[0].table, found[2].weight, found[2].bias):
        assert t.kind == "slow"
        assert t.importance.shape == t.shape
    found[0].weight.sum().backward()


# -- tensors beside the slots ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bag:
    """An object that holds a tensor."""

    weight: Tensor


Pair = namedtuple("Pair", "name weight")
LINEAR = nn.functional.linear
KEPT: dict[str, tuple[Any, Any]] = {
    "list": (lambda w: [w], lambda kept: kept[0]),
    "dict": (lambda w: {"w": w}, lambda kept: kept["w"]),
    "set": (lambda w: {w}, lambda kept: next(iter(kept))),
    "tuple": (lambda w: (w, w), lambda kept: kept[1]),
    "named tuple in a list": (lambda w: [Pair("w", w)], lambda kept: kept[0].weight),
    "frozen object": (Bag, lambda kept: kept.weight),
    "object in a dict": (lambda w: {"w": [Bag(w)]}, lambda kept: kept["w"][0].weight),
}
FUNCTIONS: dict[str, Any] = {
    "partial": lambda w: partial(LINEAR, weight=w),
    "closure": lambda w: lambda x: LINEAR(x, w),
    "default": lambda w: lambda x, w=w: LINEAR(x, w),
    "in a list": lambda w: [lambda x: LINEAR(x, w)],
}


@pytest.mark.parametrize("way", KEPT)
def test_a_tensor_that_is_held_beside_the_slots_is_exchanged_there_too(way: str) -> None:
    keep, look = KEPT[way]
    net = Net(lambda n, x: n.b(LINEAR(x, look(n.kept)).relu()), a=nn.Linear(4, 8, bias=False), b=nn.Linear(8, 2))
    net.kept = keep(net.a.weight)
    x = torch.ones(2, 4)
    plan = nk.plan(nk.trace(net, x), nk.scores.Random(1))
    small = nk.cut(net, plan)
    assert look(small.kept) is small.a.weight
    assert small.a.weight.shape == (4, 4)
    assert look(net.kept) is net.a.weight
    assert nk.certify(net, plan, small, x).holds
    nk.cut_(net, plan)
    assert torch.equal(net(x), small(x))


@pytest.mark.parametrize("way", FUNCTIONS)
@pytest.mark.parametrize("act", [nk.cut, nk.cut_])
def test_a_function_that_holds_what_shrinks_is_refused_before_anything_is_touched(act: Any, way: str) -> None:
    net = mlp()
    net.kept = FUNCTIONS[way](net[2].weight)
    with pytest.raises(CannotFollow, match=r"'kept' holds '2\.weight' inside a function"):
        act(net, middle(0))
    assert [p.shape for p in net.parameters()] == [(4, 2), (4,), (2, 4), (2,)]
    net.kept = FUNCTIONS[way](net[2].bias)
    assert act(net, middle(0)) is not None


def test_a_group_whose_weight_a_partial_holds_is_withdrawn() -> None:
    net = Net(lambda n, x: n.b(n.kept(x).relu()), a=nn.Linear(4, 8, bias=False), b=nn.Linear(8, 2))
    net.kept = partial(LINEAR, weight=net.a.weight)
    with pytest.raises(nk.errors.NothingToPrune, match=r"'kept' holds 'a\.weight' inside a function"):
        nk.trace(net, torch.ones(2, 4))


HELD_BY_FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "list in a closure": (lambda held: lambda: held, list),
    "object in a closure": (lambda held: lambda: held.weight, lambda p: Bag(p[2])),
    "dict in a tuple in a partial": (lambda held: partial(dict, ({}, held)), lambda p: dict(enumerate(p))),
    "list in a default": (lambda held: lambda x=held: x, list),
}


@pytest.mark.parametrize("way", HELD_BY_FUNCTIONS)
def test_what_a_function_holds_in_a_list_or_an_object_is_exchanged_there(way: str) -> None:
    keep, hold = HELD_BY_FUNCTIONS[way]
    net = mlp()
    held = hold([*net.parameters()])
    net.kept = keep(held)
    assert nk.trace(net, torch.ones(2, 2)).groups
    nk.cut_(net, middle(0))
    if isinstance(held, Bag):
        assert held.weight is net[2].weight
    else:
        found = held.values() if isinstance(held, dict) else held
        assert all(kept is p for kept, p in zip(found, net.parameters(), strict=True))


def test_a_method_of_what_shrinks_is_refused() -> None:
    net = mlp()
    net.kept = net[2].weight.backward
    with pytest.raises(CannotFollow, match=r"'kept' holds '2\.weight' inside a function"):
        nk.cut_(net, middle(0))


def test_data_on_a_model_are_not_looked_through() -> None:
    """A picture's path and label; and none of what is in a long list behind items without a tensor."""

    class Counted:
        looked = 0

        @property
        def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
            Counted.looked += 1
            return {"label": 3}

    net = mlp()
    net.items = [Counted() for _ in range(3 * MANY)]
    net.pairs = {k: (str(k), k, [k]) for k in range(3 * MANY)}
    net.weights = [net[0].weight, *([(k, "a")] for k in range(3 * MANY)), net[2].weight]
    found = list(held_beside(net))
    assert [(held.place, held.tensor.shape) for held in found] == [("weights", (4, 2)), ("weights", (2, 4))]
    assert 0 < Counted.looked <= 3 * MANY  # hasattr, the module's name and vars of the first ones


def test_functions_that_look_the_tensor_up_and_optimizers_are_no_trouble() -> None:
    net = mlp()
    net.look = lambda: net[0].weight
    net.bound = net[0].forward
    net.optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    nk.cut_(net, middle(0), net.optimizer)
    assert net.look().shape == (3, 2)
    assert {id(p) for p in net.optimizer.param_groups[0]["params"]} == {id(p) for p in net.parameters()}


def test_a_scripted_part_is_refused_by_its_name_and_left_alone_where_it_stays() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = [torch.jit.script(part) for part in (nn.Linear(4, 4), nn.ReLU())]
    net = nn.Sequential(nn.Linear(2, 4), *scripted, nn.Linear(4, 2))
    with pytest.raises(CannotFollow, match="'1' is scripted"):
        nk.cut(net, by_hand(net, **{"0__weight": {0: (1,)}, "0__bias": {0: (1,)}, "1__weight": {1: (1,)}}))
    small = nk.cut(net, by_hand(net, **{"3__weight": {0: (1,)}, "3__bias": {0: (1,)}}))
    assert small(torch.ones(1, 2)).shape == (1, 1)


# -- module attributes ------------------------------------------------------------------------------------------


def pruned(between: nn.Module | None, *, conv: bool = True, width: int = 6) -> nn.Module:
    """A layer of 8, something, and a layer; two of the 8 go (the last two, or as a balance will have it)."""
    layer = (lambda i, o: nn.Conv2d(i, o, 1)) if conv else nn.Linear
    net = Net(
        lambda n, x: n.b(n.m(n.a(x)) if between is not None else n.a(x)), a=layer(3 if conv else 4, 8), b=layer(8, 2)
    )
    if between is not None:
        net.m = between
    x = image() if conv else tokens()
    plan = nk.plan(nk.trace(net, x), target=nk.Ratio(0.25, only="a"))
    small = nk.cut(net, plan)
    assert small(x).shape == net(x).shape
    return small


def test_convolutions_know_their_channels() -> None:
    small = pruned(None)
    assert (small.a.out_channels, small.b.in_channels, small.b.out_channels) == (6, 6, 2)
    assert "Conv2d(3, 6" in repr(small.a)


def test_a_depthwise_convolution_knows_its_groups() -> None:
    small = pruned(nn.Conv2d(8, 8, 3, groups=8, padding=1))
    assert (small.m.in_channels, small.m.out_channels, small.m.groups) == (6, 6, 6)


def test_a_grouped_convolution_keeps_its_groups() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 2, 1))
    graph = nk.trace(net, image())
    plan = nk.plan(graph, target=nk.Ratio(0.5), groups=["1"] if "1" in {g.name for g in graph.groups} else None)
    small = nk.cut(net, plan)
    conv = small[1]
    assert conv.groups == 2
    assert conv.weight.shape == (conv.out_channels, conv.in_channels // 2, 1, 1)
    assert small(image()).shape == (2, 2, 6, 6)


def test_a_transposed_convolution_knows_its_channels() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ConvTranspose2d(8, 4, 2), nn.Conv2d(4, 2, 1))
    small = nk.cut(net, nk.plan(nk.trace(net, image())))
    assert (small[1].in_channels, small[1].out_channels, small[2].in_channels) == (4, 2, 2)
    assert small(image()).shape == (2, 2, 7, 7)


@pytest.mark.parametrize(
    ("norm", "conv", "attribute", "value"),
    [
        (nn.BatchNorm2d(8), True, "num_features", 6),
        (nn.BatchNorm2d(8, affine=False), True, "num_features", 6),
        (nn.InstanceNorm2d(8, affine=True), True, "num_features", 6),
        (nn.GroupNorm(2, 8), True, "num_channels", 6),
        (nn.GroupNorm(2, 8), True, "num_groups", 2),
        (nn.GroupNorm(8, 8), True, "num_groups", 6),
        (nn.LayerNorm(8), False, "normalized_shape", (6,)),
        (nn.RMSNorm(8), False, "normalized_shape", (6,)),
        (nn.PReLU(8), True, "num_parameters", 6),
        (nn.InstanceNorm2d(8), True, "num_features", 6),
        (nn.GroupNorm(8, 8, affine=False), True, "num_groups", 6),
        (nn.GroupNorm(2, 8, affine=False), True, "num_channels", 6),
        (nn.LayerNorm(8, elementwise_affine=False), False, "normalized_shape", (6,)),
        (nn.RMSNorm(8, elementwise_affine=False), False, "normalized_shape", (6,)),
    ],
    ids=lambda v: str(v) if isinstance(v, nn.Module | str) else "",
)
def test_norms_know_their_width(norm: nn.Module, conv: bool, attribute: str, value: Any) -> None:
    assert getattr(pruned(norm, conv=conv).m, attribute) == value


def test_embeddings_know_their_width() -> None:
    net = Net(lambda n, x: n.b(n.e(x)), e=nn.Embedding(5, 4), b=nn.Linear(4, 2))
    small = nk.cut(net, nk.plan(nk.trace(net, torch.zeros(2, 3, dtype=torch.int64))))
    assert (small.e.num_embeddings, small.e.embedding_dim, small.b.in_features) == (5, 2, 2)


class Scaled(nn.Module):
    """Writes its width down where no binding by name and value finds it: in a list."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widths, self.scale = [width], nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1, *self.widths) * self.scale


def test_an_adapter_opens_a_module_that_writes_its_width_down() -> None:
    net = nn.Sequential(nn.Linear(4, 6), Scaled(6), nn.Linear(6, 3))
    with pytest.raises(nk.errors.NothingToPrune, match="register an adapter"):
        nk.trace(net, torch.ones(2, 4))
    seen: list[Any] = []

    @nk.adapter(Scaled)
    def scaled(module: Scaled, change: Any) -> None:
        seen.append(change)
        module.widths = [module.scale.shape[0]]

    try:
        plan = nk.plan(nk.trace(net, torch.ones(2, 4)), nk.scores.Random(1))
        seen.clear()
        small = nk.cut(net, plan)
    finally:
        del ADAPTERS[Scaled]
    assert small[1].widths == [3]
    assert net[1].widths == [6]
    assert len(seen) == 1
    assert seen[0].before == {"scale": (6,)}
    assert seen[0].removed == {("scale", 0): plan.removed[Axis("1.scale", 0)]}


def test_an_adapter_serves_subclasses_unless_they_have_their_own() -> None:
    class Mine(nn.Linear):
        pass

    net = nn.Sequential(Mine(4, 6), nn.ReLU(), Mine(6, 3))
    small = nk.cut(net, nk.plan(nk.trace(net, torch.ones(2, 4))))
    assert (small[0].out_features, small[2].in_features) == (3, 3)


# -- the optimizer ----------------------------------------------------------------------------------------------


def trained(make: Any) -> tuple[nn.Sequential, torch.optim.Optimizer]:
    net = mlp()
    optimizer = make(net.parameters())
    for k in range(3):
        optimizer.zero_grad()
        net(torch.ones(1, 2) * (k + 1)).square().sum().backward()
        optimizer.step()
    return net, optimizer


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9),
        lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
        lambda p: torch.optim.AdamW(p, lr=1e-3),
        lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.9, centered=True),
    ],
    ids=["SGD", "Adam", "AdamW", "RMSprop"],
)
def test_optimizer_state_loses_the_same_entries(make: Any) -> None:
    net, optimizer = trained(make)
    before = {k: v.clone() for k, v in optimizer.state[net[2].weight].items() if isinstance(v, Tensor)}
    settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    receipt = nk.cut_(net, middle(0, 2), optimizer)
    after = optimizer.state[net[2].weight]
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in net.parameters()}
    assert {id(p) for p in optimizer.state} == {id(p) for p in net.parameters()}
    assert settings == [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    for key, old in before.items():
        assert torch.equal(after[key], old[:, [1, 3]] if old.dim() else old), key
    moments = sum(v.dim() > 0 for v in before.values())
    assert receipt.states == 3 * moments
    assert f"{3 * moments} optimizer tensors with them" in str(receipt)
    weights = [p.detach().clone() for p in net.parameters()]
    net(torch.ones(1, 2)).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(p, w) for p, w in zip(net.parameters(), weights, strict=True))


def test_a_fresh_optimizer_follows_without_state() -> None:
    net = mlp()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    assert nk.cut_(net, middle(1), optimizer).states == 0
    assert [p.shape for p in optimizer.param_groups[0]["params"]] == [(3, 2), (3,), (2, 3), (2,)]


def test_state_of_another_shape_is_refused_before_anything_is_touched() -> None:
    net = mlp()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    optimizer.state[net[2].weight]["rows"] = torch.zeros(7)
    weight = net[0].weight
    with pytest.raises(CannotFollow, match=r"SGD keeps 'rows' of shape \(7,\) for '2.weight' of shape \(2, 4\)"):
        nk.cut_(net, middle(0), optimizer)
    assert net[0].weight is weight
    assert net[2].weight.shape == (2, 4)


@pytest.mark.parametrize("register", ["register_hook", "register_post_accumulate_grad_hook"])
def test_a_hook_on_a_parameter_that_shrinks_is_refused(register: str) -> None:
    net = mlp()
    handle = getattr(net[2].weight, register)(lambda t: None)
    with pytest.raises(CannotFollow, match=r"'2\.weight' has a hook on it"):
        nk.cut_(net, middle(0))
    assert net[0].weight.shape == (4, 2)
    handle.remove()
    nk.cut_(net, middle(0))
    assert net[0].weight.shape == (3, 2)


def test_a_hook_on_a_parameter_that_stays_is_no_trouble() -> None:
    net = mlp()
    net[2].bias.register_hook(lambda grad: None)
    nk.cut_(net, middle(0))
    assert net[2].weight.shape == (2, 3)


class Tied(nn.Module):
    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(9, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 9, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        found: Tensor = self.head(x + self.mix(x))
        return found


IDS = torch.arange(4)[None]


@pytest.mark.parametrize(
    ("planned", "told"),
    [
        (True, r"'head\.weight' shares memory with 'embed\.weight', and in this Tied it does not: tie them first"),
        (False, r"'head\.weight' and 'embed\.weight' are two tensors, and in this Tied they share memory"),
    ],
)
@pytest.mark.parametrize("act", [nk.cut, nk.cut_, nk.mask])
def test_a_plan_of_other_ties_is_refused(act: Any, planned: bool, told: str) -> None:
    plan, other = nk.plan(nk.trace(Tied(planned), IDS)), Tied(not planned)
    before = {name: tuple(p.shape) for name, p in other.named_parameters()}
    with pytest.raises(StalePlan, match=told):
        act(other, plan)
    assert {name: tuple(p.shape) for name, p in other.named_parameters()} == before


@pytest.mark.parametrize("planned", [True, False])
def test_ties_of_what_stays_do_not_matter(planned: bool) -> None:
    class Wide(Tied):
        def __init__(self, tied: bool) -> None:
            super().__init__(tied)
            self.mix = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6))

    graph = nk.trace(Wide(planned), IDS)
    small = nk.cut(Wide(not planned), nk.plan(graph, groups=["mix.0"]))
    assert small(IDS).shape == (1, 4, 9)
