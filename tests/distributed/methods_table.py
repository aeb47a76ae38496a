"""Every method, in one process and in several: the same choice, the same plan, the same weights to rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import niwaki as nk
from niwaki.methods import Method
from niwaki.ranks import digest, whole
from niwaki.wrappers import bare
from tests.distributed.nets import SUBJECTS, Subject, loss_of
from tests.laws.table import METHODS

HALF = nk.Ratio(0.4)
TRAINED = {
    **METHODS,
    "gradual": (nk.methods.gradual(0.6, steps=3, every=2), 6),
    "nm": (nk.methods.nm("2:4"), 4),
    "layer": (nk.methods.imp(nk.Ratio(0.5, scope="layer"), rounds=2, steps=2, dense=1), 7),
    "spur_proximal": (nk.methods.spur(0.4, rounds=1, steps=3, dense=1, alpha=0.05, proximal=True), 6),
    "spur_uneven": (nk.methods.spur(0.4, rounds=1, steps=3, dense=1, alpha=0.05, reading="unevenness"), 6),
    "spur_l1": (nk.methods.spur(0.4, rounds=1, steps=3, dense=1, alpha=0.05, reading="l1"), 6),
    "greg1_weights": (nk.methods.greg1(nk.Ratio(0.4, scope="global"), grow=0.4, every=2, hold=3, of="weights"), 12),
    "random_weights": (nk.methods.magnitude(nk.Ratio(0.3), score=nk.scores.Random(3), of="weights"), 3),
    "macs": (nk.methods.magnitude(nk.Macs(0.6)), 4),
}
"""Methods in a hurry, each with the steps that it needs and some after its end."""
LOOKING = {
    "ispasp": (nk.methods.ispasp(HALF, iters=3), 2),
    "ispasp_fresh": (nk.methods.ispasp(HALF, iters=2, samples=16, fresh=True), 2),
    "ispasp_fitted": (nk.methods.ispasp(HALF, iters=3, compensate=True, reestimate=True), 2),
    "ispasp_batch": (nk.methods.ispasp(HALF, iters=3, statistics="batch"), 2),
    "ispasp_tuned": (nk.methods.ispasp(HALF, iters=3, tune=1), 8),
    "topk": (nk.methods.topk(HALF), 2),
    "gfs": (nk.methods.gfs(HALF), 2),
    "gfs_tried": (nk.methods.gfs(HALF, reuse=False), 2),
    "michel": (nk.methods.michel(HALF), 2),
    "michel_each": (nk.methods.michel(HALF, each=True, normalised=True), 2),
}
"""Methods that look at data, each rank at its own."""
VARIED = ("greg1", "greg1_weights", "imp", "spur", "spur_uneven", "movement", "nm", "ispasp_fitted", "michel")
"""Methods that more than two processes carry out: one of each kind of sum."""
TRACED = ("greg1", "masked_then_cut")
"""Methods of which every run traces its own model, sharded ones too."""
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "perceptron": lambda p: torch.optim.AdamW(p, lr=1e-3, foreach=False),
    "convolutions": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, foreach=False),
}


def plain(subject: Subject, model: nn.Module) -> nn.Module:
    return model


def replicated(subject: Subject, model: nn.Module) -> nn.Module:
    return DistributedDataParallel(model)


def sharded(subject: Subject, model: nn.Module) -> nn.Module:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for module in subject.units(model):
        fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def hybrid(subject: Subject, model: nn.Module) -> nn.Module:
    """Shards within pairs, and replicas of the pairs."""
    mesh = init_device_mesh("cpu", (dist.get_world_size() // 2, 2), mesh_dim_names=("replicas", "shards"))
    for module in subject.units(model):
        fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


Wrap = Callable[[Subject, nn.Module], nn.Module]


def graph_of(name: str, model: nn.Module) -> nk.Graph:
    """Of this very model; traced once for all models of the subject."""
    graph = copy.copy(_traced(name))
    graph.model = bare(model)
    return graph


@cache
def _traced(name: str) -> nk.Graph:
    return nk.trace(SUBJECTS[name].model(), SUBJECTS[name].inputs())


def pruned(name: str, method: Method, steps: int, wrap: Wrap, rank: int = 0, size: int = 1) -> nk.Pruning:
    """A whole run of a method, the samples of every step dealt out over the ranks."""
    subject = SUBJECTS[name]
    model = wrap(subject, subject.model())
    optimizer = OPTIMIZERS[name](model.parameters())
    seen: dict[str, Any] = {"data": subject.batches(rank, size), "loss": loss_of} if method.needs else {}
    record = {"record": [].append} if rank == 0 else {}  # only the first rank writes figures down
    graph = None if method.name in TRACED else graph_of(name, model)
    run = nk.Pruning(model, optimizer, method, subject.inputs(), graph=graph, **seen, **record)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, subject.batch(step, rank, size)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        run.step()
    assert run.finished, f"{method.name} needs more than {steps} steps"
    return run


def outcome(run: nk.Pruning) -> dict[str, Any]:
    """What a run leaves: weights and buffers, masks, the plan."""
    plan = nk.plan_of(run.model)
    tensors = dict([*bare(run.model).named_parameters(), *bare(run.model).named_buffers()])
    return {
        "plan": None if plan is None else plan.to_json(),
        "masks": {name: whole(gone).clone() for name, gone in run.state_dict()["zeroed"].items()},
        "tensors": {name: whole(t.detach()).clone() for name, t in tensors.items() if t.is_floating_point()},
    }


def every() -> Iterator[tuple[str, str, Method, int]]:
    """(case, network, method, steps)."""
    for network in SUBJECTS:
        trained = TRAINED if network == "perceptron" else {name: TRAINED[name] for name in ("greg1", "imp", "spur")}
        for name, (method, steps) in {**trained, **LOOKING}.items():
            yield f"{name}/{network}", network, method, steps


def alone(folder: Path) -> None:
    """Write what one process leaves, by case."""
    torch.save({case: outcome(pruned(*rest, plain)) for case, *rest in every()}, folder / "alone.pt")


@cache
def wanted_of(folder: Path) -> dict[str, dict[str, Any]]:
    return torch.load(folder / "alone.pt", weights_only=True)


def cases(folder: Path) -> dict[str, Callable[[], None]]:
    wraps = {"ddp": replicated, "fsdp": sharded} | ({"hsdp": hybrid} if dist.get_world_size() > 2 else {})
    return {
        f"{case}/{way}": partial(same_as_alone, folder, case, network, method, steps, wrap)
        for case, network, method, steps in every()
        for way, wrap in wraps.items()
        if dist.get_world_size() == 2 or (case.split("/")[0] in VARIED and (way != "hsdp" or network == "perceptron"))
    }


def same_as_alone(folder: Path, case: str, network: str, method: Method, steps: int, wrap: Wrap) -> None:
    found = outcome(pruned(network, method, steps, wrap, dist.get_rank(), dist.get_world_size()))
    wanted = wanted_of(folder)[case]
    assert found["plan"] == wanted["plan"], "another plan"
    assert found["masks"].keys() == wanted["masks"].keys()
    for name, mask in wanted["masks"].items():
        assert torch.equal(found["masks"][name], mask), f"another mask on {name}"
    same(found["tensors"], wanted["tensors"])
    marks = nk.Ranks.here().texts(digest([found["plan"], found["masks"]]))
    assert len(set(marks)) == 1, f"ranks differ: {marks}"


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, t in wanted.items():
        assert found[name].shape == t.shape, f"{name}: {tuple(found[name].shape)} in place of {tuple(t.shape)}"
        gap = float((found[name] - t).abs().max()) if t.numel() else 0.0
        assert gap <= 2e-5 * max(1.0, float(t.abs().max())), f"{name} is {gap} away"
