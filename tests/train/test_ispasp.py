"""i-SpaSP on networks: it keeps what the paper's algorithm keeps, written down plainly and cut block by block."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.graph import Graph
from niwaki.surgery.cut import plan_of
from niwaki.testing.families import family

NETWORKS = {
    "basic block": "resnet",
    "bottleneck": "resnet_bottleneck",
    "inverted residual": "mobilenet_v2",
    "bert": "bert",
    "vit": "vit",
    "gpt2": "gpt2",
    "llama": "llama",
}
LIMIT = {"mobilenet_v2": ("mobilenet_v2.layer.[0-2].expand*",)}
"""Where the whole network would take long."""


def batches(name: str, count: int = 3) -> list[Any]:
    """Batches like the inputs of a family, each with other numbers."""
    found = []
    for k in range(count):
        generator = torch.Generator().manual_seed(k)

        def other(t: Any, generator: torch.Generator = generator) -> Any:
            if not isinstance(t, Tensor) or t.dtype == torch.bool:
                return t
            if t.is_floating_point():
                return torch.randn(t.shape, generator=generator)
            return t.flatten()[torch.randperm(t.numel(), generator=generator)].reshape(t.shape)

        inputs = family(name).inputs()
        if isinstance(inputs, Mapping):
            found.append({k: v if "mask" in k else other(v) for k, v in inputs.items()})
        elif isinstance(inputs, Tensor):
            found.append(other(inputs))
        else:
            found.append(tuple(map(other, inputs)))
    return found


def run(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple) else model(batch)


# -- the algorithm, as plainly as it can be written -----------------------------------------------------------------


def inputs_of(model: nn.Module, layer: str, data: list[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_pre_hook(lambda m, args: found.append(args[0].detach().double()))
    with torch.no_grad():
        for batch in data:
            run(model, batch)
    hook.remove()
    return found


def unit_sums(values: Tensor, dim: int, unit_of: Tensor, units: int) -> Tensor:
    along = values.movedim(dim, -1).flatten(0, -2).sum(0)
    return torch.stack([along[unit_of == u].sum() for u in range(units)])


def reference(
    model: nn.Module, graph: Graph, group: Any, stay: int, norm: str | None, gone: dict[str, Any], data: list[Any]
) -> Any:
    """The units of one group, so many, that are kept by Algorithms 1 and 2, on a network really cut so far."""
    front = nk.cut(model, nk.make_plan(graph, gone)) if any(gone.values()) else copy.deepcopy(model)
    (member,) = [m for m in group.members if m.role == "takes"]
    layer = member.name.removesuffix(".weight")
    hidden = inputs_of(front.eval(), layer, data)
    module = front.get_submodule(layer).double()
    second = module if norm is None else nn.Sequential(module, front.get_submodule(norm).double().eval())
    dim = 1 if isinstance(module, nn.Conv2d) else -1
    unit_of = torch.full((hidden[0].shape[dim],), -1)
    unit_of[torch.as_tensor(group.entries[member.axis].positions)] = torch.as_tensor(group.entries[member.axis].units)
    units, part = len(group), group.parts[0].of if group.parts else [0] * len(group)
    share = [stay // len(set(part))] * len(set(part))
    mass = sum(unit_sums(h.abs(), dim, unit_of, units) for h in hidden)
    kept: set[int] = set()
    for _ in range(20):
        importance = torch.zeros(units, dtype=torch.float64)
        for h in hidden:
            at = h.clone().requires_grad_()
            dense = second(at)
            shape = [-1 if d == dim % h.dim() else 1 for d in range(h.dim())]
            stays = torch.tensor([u.item() in kept for u in unit_of], dtype=torch.float64).reshape(shape)
            with torch.no_grad():
                pruned = second(h * stays) if kept else torch.zeros_like(dense)
            (0.5 * (dense - pruned).square()).sum().backward()
            importance += unit_sums(at.grad, dim, unit_of, units)
        chosen: set[int] = set()
        for p, keep in enumerate(share):
            inside = [u for u in range(units) if part[u] == p]
            wide = set(sorted(inside, key=lambda u: (importance[u], u))[-2 * keep :]) | (kept & set(inside))
            chosen |= set(sorted(wide, key=lambda u: (mass[u], u))[-keep:])
        kept = chosen
    return kept


def norm_behind(name: str, group: str) -> str | None:
    """Of the families with batch norms: the one behind the layer that takes the group."""
    if "resnet" in name:
        stem, _, k = group.rpartition(".layer.")
        return f"{stem}.layer.{int(k.split('.')[0]) + 1}.normalization" if stem else None
    return group.replace("expand_1x1.convolution", "reduce_1x1.normalization") if name == "mobilenet_v2" else None


@pytest.mark.parametrize("name", NETWORKS.values(), ids=NETWORKS)
def test_a_quarter_of_a_network_is_what_the_paper_keeps_and_certified(name: str) -> None:
    """A quarter: where half is kept, looking twice as wide sees all there is, and the heaviest would be kept."""
    model, inputs, data = family(name).build().eval(), family(name).inputs(), batches(name)
    only = LIMIT.get(name, ())
    target = nk.Ratio(0.75, only=only) if only else nk.Ratio(0.75, skip=("*embedder*",) if "resnet" in name else ())
    small = nk.prune(model, inputs, nk.methods.ispasp(target), data=data)
    plan = plan_of(small)
    assert plan is not None
    assert nk.certify(model, plan, small, inputs).holds
    graph, gone = nk.trace(model, inputs), {}
    chosen = {n: c.removed for n, c in plan.choices.items() if c.removed}
    assert {graph[n].kind for n in chosen} <= {"head", "neuron", "channel"}
    for group in sorted(graph.groups, key=lambda g: position(model, g, data)):
        if group.name not in chosen or group.name == "bert.pooler.dense":
            continue
        stay = len(group) - len(chosen[group.name])
        kept = reference(model, graph, group, stay, norm_behind(name, group.name), gone, data)
        gone[group.name] = tuple(sorted(set(range(len(group))) - kept))
        assert gone[group.name] == chosen[group.name], group.name
    assert len(gone) >= 3
    heaviest = plan_of(nk.prune(model, inputs, nk.methods.topk(target), data=data))
    assert heaviest is not None
    differ = any(heaviest.choices[n].removed != gone[n] for n in gone)
    assert differ != (name == "gpt2" or "resnet" in name)  # there the heaviest units are the ones that matter


def position(model: nn.Module, group: Any, data: list[Any]) -> int:
    """When the first layer that takes a group is called."""
    layers = [m.name.removesuffix(".weight") for m in group.members if m.role == "takes"]
    order: list[str] = []
    hooks = [m.register_forward_pre_hook(lambda *_, n=n: order.append(n)) for n, m in model.named_modules()]
    with torch.no_grad():
        run(model, data[0])
    for hook in hooks:
        hook.remove()
    return min((order.index(n) for n in layers if n in order), default=len(order))


# -- worked by hand ---------------------------------------------------------------------------------------------------


def planted() -> nn.Sequential:
    """Sixteen neurons: 0 to 3 tell the inputs apart, 6 is alive but not read, 7 is read and small, the rest is dead."""
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 4))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.zero_()
        model[0].weight[:4] = torch.eye(4)
        model[0].weight[6] = 0.5
        model[0].weight[7, 0] = 0.001
        model[2].weight.zero_()
        model[2].bias.zero_()
        model[2].weight[:, :4] = torch.eye(4)
        model[2].weight[:, 7] = 0.001
    return model


def test_the_live_units_are_picked_and_the_output_stays() -> None:
    model, x = planted(), torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
    small = nk.prune(model, x[:1], nk.methods.ispasp(nk.Ratio(0.75)), data=[x])
    assert plan_of(small).choices["0"].removed == tuple(range(4, 16))
    assert torch.allclose(small(x), model(x), atol=1e-5)


def test_top_k_falls_for_a_large_unit_that_nobody_reads() -> None:
    model, x = planted(), torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
    small = nk.prune(model, x[:1], nk.methods.topk(nk.Ratio(0.75)), data=[x])
    assert 6 not in plan_of(small).choices["0"].removed


def test_with_nothing_to_remove_the_model_is_unchanged() -> None:
    model, x = planted(), torch.rand(8, 4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for method in (nk.methods.ispasp, nk.methods.topk, nk.methods.gfs):
        small = nk.prune(model, x, method(nk.Macs(1.0), compensate=method is nk.methods.ispasp), data=[x])
        assert all(torch.equal(v, before[k]) for k, v in small.state_dict().items())


# -- refused ----------------------------------------------------------------------------------------------------------


def test_without_data_the_way_out_is_told() -> None:
    with pytest.raises(BadInput, match="ispasp looks at data: give data=batches"):
        nk.prune(planted(), torch.rand(2, 4), nk.methods.ispasp(nk.Ratio(0.5)))
    with pytest.raises(BadInput, match="michel needs a loss"):
        nk.prune(planted(), torch.rand(2, 4), nk.methods.michel(nk.Ratio(0.5)), data=[torch.rand(2, 4)])


def test_groups_that_compete_take_a_score() -> None:
    method = nk.methods.ispasp(nk.Ratio(0.5, scope="global"))
    with pytest.raises(BadInput, match="scope='global' compares the scores"):
        nk.prune(planted(), torch.rand(2, 4), method, data=[torch.rand(2, 4)])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (torch.rand(2, 4), "data must be an iterable of batches, not one Tensor"),
        ({"x": torch.rand(2, 4)}, "data must be an iterable of batches, not one dict"),
        ([], "data gave no samples"),
        (["x"], "a batch of data must be a tensor.*not str"),
        ([(torch.rand(2, 4), 1, 2)], "a batch of data has 3 entries, and inputs has 1"),
        ([torch.tensor(1.0)], "no tensor with a dimension of samples"),
    ],
)
def test_data_that_cannot_be_read_is_refused(data: Any, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        nk.prune(planted(), torch.rand(2, 4), nk.methods.ispasp(nk.Ratio(0.5)), data=data)


def test_where_half_of_the_units_stay_it_is_top_k() -> None:
    """Twice as many units as stay are all units, of which the heaviest stay; below a half the two differ."""
    torch.manual_seed(3)
    model, x = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 4)).eval(), torch.randn(64, 6)

    def kept(make: Any, removed: float) -> Any:
        return plan_of(nk.prune(model, x, make(nk.Ratio({"0": removed})), data=[x])).choices["0"].removed

    assert kept(nk.methods.ispasp, 0.5) == kept(nk.methods.topk, 0.5)
    assert kept(nk.methods.ispasp, 0.9) != kept(nk.methods.topk, 0.9)
