"""Cuts of a sharded model, what is saved of it, and runs that go on from a checkpoint."""

from __future__ import annotations

import io
import json
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed._composable import checkpoint
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import niwaki as nk
from niwaki.ranks import Ranks, digest, is_sharded, local, spread_over, whole
from niwaki.surgery.singles import select_each
from niwaki.surgery.slices import select
from tests.distributed.methods_table import (
    LOOKING,
    OPTIMIZERS,
    TRAINED,
    Wrap,
    graph_of,
    hybrid,
    replicated,
    same,
    sharded,
)
from tests.distributed.nets import SUBJECTS, Subject, loss_of

HALF = nk.Ratio(0.4)


RESUMED = (
    ("greg1", "perceptron", replicated),
    ("greg1", "perceptron", sharded),
    ("imp", "perceptron", sharded),
    ("movement", "perceptron", sharded),
    ("ispasp_tuned", "convolutions", replicated),
    ("ispasp_tuned", "convolutions", sharded),
)
"""A cut, zeros with a rewind, sums over steps, looks at data."""


class Watch(TorchDispatchMode):
    """The largest tensor that is made inside, and the most bytes of all that live at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.live = self.most = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for t in tree_leaves(found):
            if isinstance(t, Tensor) and not is_sharded(t) and not t.is_meta:
                self._note(t)
        return found

    def _note(self, t: Tensor) -> None:
        memory = t.untyped_storage()
        self.largest = max(self.largest, t.numel())
        if memory._cdata not in self._seen:
            self._seen.add(memory._cdata)
            self.live += memory.nbytes()
            self.most = max(self.most, self.live)
            weakref.finalize(memory, self._gone, memory._cdata, memory.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size


class Tall(nn.Module):
    """Many layers of one size, so that the whole is far more than a part and one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(layer for _ in range(12) for layer in (nn.Linear(32, 32), nn.ReLU())))
        self.last = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x))


TALL = Subject(Tall, (32,), lambda m: [layer for layer in m.layers if isinstance(layer, nn.Linear)])


def trained(subject: Subject, wrap: Wrap = sharded) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Two steps of Adam, so that there are moments."""
    model = wrap(subject, subject.model())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, foreach=False)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(4, *subject.shape)).square().mean().backward()
        optimizer.step()
    return model, optimizer


def no_rank_holds_it_whole() -> None:
    model, optimizer = trained(TALL)
    plan = nk.plan(nk.trace(model, TALL.inputs()), nk.scores.L1(), HALF)
    whole_size = sum(p.numel() for p in model.parameters())
    part_size = sum(local(p).numel() for p in model.parameters())
    with Watch() as watch:
        nk.cut_(model, plan, optimizer)
    assert watch.largest == 32 * 32, watch.largest
    # Moments and weights of the cut part (Adam: three), and one parameter that is gathered, cut and dealt out.
    assert watch.most <= 4 * (3 * part_size + 4 * 32 * 32), (watch.most, part_size)
    assert watch.most < 4 * 3 * whole_size / 2, (watch.most, whole_size)  # half of all weights and moments


def columns_are_cut_where_they_are() -> None:
    model, _ = trained(TALL)
    weight = dict(model.named_parameters())["layers.0.weight"]
    with Watch() as watch:
        small = select(weight.detach(), {1: (0, 5, 7)})
    kept = [k for k in range(32) if k not in (0, 5, 7)]
    assert torch.equal(whole(small), whole(weight)[:, kept])
    assert watch.largest <= local(weight).numel()


def every_parameter_goes_on(wrap: Wrap) -> None:
    model, optimizer = trained(TALL, wrap)
    moments = {p: optimizer.state[p] for p in model.parameters()}
    plan = nk.plan(nk.trace(model, TALL.inputs()), nk.scores.L1(), HALF)
    kept = {name: p for name, p in model.named_parameters() if not any(axis.name == name for axis in plan.removed)}
    before = {name: whole(optimizer.state[p]["exp_avg"]).clone() for name, p in model.named_parameters()}
    receipt = nk.cut_(model, plan, optimizer)
    assert receipt.states == 2 * len(receipt.tensors) > 0
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name, p in model.named_parameters():
        assert id(p) in held, f"{name} is not trained any more"
        assert is_sharded(p)
        assert isinstance(p, nn.Parameter)
        wanted = cut_alone(before[name], plan, name)
        assert torch.equal(whole(optimizer.state[p]["exp_avg"]), wanted), name
        assert name not in kept or p is kept[name]
    assert len(moments) == len(optimizer.state)
    values = {name: whole(p).clone() for name, p in model.named_parameters()}
    optimizer.zero_grad()
    model(torch.randn(4, 32)).square().mean().backward()
    optimizer.step()
    still = [name for name, p in model.named_parameters() if torch.equal(whole(p), values[name])]
    assert still == [], f"these do not move: {still}"
    assert local(model.last.weight).numel() < model.last.weight.numel()


def cut_alone(t: Tensor, plan: nk.Plan, name: str) -> Tensor:
    for axis in plan.removed:
        if axis.name == name:
            t = t.index_select(axis.dim, torch.tensor(plan.kept(axis)))
    return t


def settings_stay() -> None:
    model = TALL.model()
    exact = MixedPrecisionPolicy(reduce_dtype=torch.float64)
    for module in TALL.units(model)[:3]:
        fully_shard(module, reshard_after_forward=False, mp_policy=exact)
    fully_shard(model.layers)
    fully_shard(model)
    plan = nk.plan(nk.trace(model, TALL.inputs()), nk.scores.L1(), HALF)
    before = [(name, *told(m)) for name, m in model.named_modules() if isinstance(m, FSDPModule)]
    nk.cut_(model, plan)
    after = [(name, *told(m)) for name, m in model.named_modules() if isinstance(m, FSDPModule)]
    assert before == after
    assert len(before) == 5
    again = nk.plan(nk.trace(model, TALL.inputs()), nk.scores.L1(), nk.Ratio(0.2))
    nk.cut_(model, again)  # and once more
    model(torch.randn(4, 32)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def checkpointed_activations_stay(how: str) -> None:
    """They are computed twice in every step, before the cut and after it; and the model loads what it gives."""
    runs: list[str] = []
    model = Tall()
    layers = model.layers
    for name in ("4", "6"):
        layers.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: runs.append(name))
        if how == "wrapped":
            layers[int(name)] = checkpoint_wrapper(layers[int(name)])
        else:
            checkpoint(layers[int(name)])
        fully_shard(layers[int(name)])
    fully_shard(model)

    def once() -> list[str]:
        runs.clear()
        model(torch.randn(4, 32)).sum().backward()
        model.load_state_dict(model.state_dict())
        return sorted(runs)

    before = once()
    assert before == ["4", "4", "6", "6"]
    nk.cut_(model, nk.plan(nk.trace(model, TALL.inputs()), nk.scores.L1(), HALF))
    assert once() == before
    assert model.last.in_features < 32


def told(module: Any) -> tuple[Any, ...]:
    state = fully_shard.state(module)
    groups = [
        (len(g.fsdp_params), g.mesh_info.mesh, g.post_forward_mesh_info is None) for g in state._fsdp_param_groups
    ]
    return state._mp_policy, state._auto_reshard_after_forward, *groups


def saved_in_parts(folder: Path) -> None:
    subject = SUBJECTS["perceptron"]
    model = sharded(subject, subject.model())
    plan = nk.plan(nk.trace(model, subject.inputs()), nk.scores.L1(), HALF)
    nk.cut_(model, plan)
    place = folder / "saved"
    tensors = {name: whole(p).clone() for name, p in model.named_parameters()}
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    with Watch() as watch:
        nk.save(model, place)
    ranks = dist.get_world_size()  # what is gathered has even parts
    assert watch.largest <= max(-(-len(t) // ranks) * ranks * t[0].numel() for t in tensors.values())
    Ranks.here().texts("")  # all are here
    index = json.loads((place / "model.safetensors.index.json").read_text(encoding="utf-8"))
    files = sorted(path.name for path in place.glob("*.safetensors"))
    assert files == [f"model-{k + 1:05d}-of-{len(files):05d}.safetensors" for k in range(len(files))]
    assert len(files) >= ranks
    assert index["metadata"]["total_size"] == size
    assert index["weight_map"].keys() == tensors.keys()
    held = [sum(t.numel() * t.element_size() for n, t in tensors.items() if index["weight_map"][n] == f) for f in files]
    assert sum(held) == size
    assert max(held) <= -(-size // ranks)
    small = nk.load(place, subject.model(7))
    same({name: p.detach() for name, p in small.named_parameters()}, tensors)
    x = subject.batch(0, 0, 1)[0]
    assert torch.allclose(small.eval()(x), model.eval()(x), atol=1e-6)


def resumes(name: str, network: str, wrap: Wrap) -> None:
    """Stopped early, half way and late, through a file of each rank, and on in fresh objects: bit for bit."""
    method, steps = {**TRAINED, **LOOKING}[name]
    whole_run = Session(network, method, wrap)
    stops = sorted({1, steps // 2, steps - 2})
    saved = {}
    for step in range(steps):
        whole_run.train(step)
        if step + 1 in stops:
            saved[step + 1] = whole_run.to_bytes()
    assert whole_run.run.finished
    for stop in stops:
        again = Session(network, method, wrap, seed=5)
        again.load(saved[stop])
        for step in range(stop, steps):
            again.train(step)
        assert again.marks() == whole_run.marks(), f"stopped after {stop} of {steps} steps"


class Session:
    """A run under way, on this rank's share of the samples."""

    def __init__(self, network: str, method: Any, wrap: Wrap, seed: int = 0) -> None:
        self.subject = SUBJECTS[network]
        self.model = wrap(self.subject, self.subject.model(seed))
        self.optimizer = OPTIMIZERS[network](self.model.parameters())
        rank, size = dist.get_rank(), dist.get_world_size()
        seen = {"data": self.subject.batches(rank, size), "loss": loss_of} if method.needs else {}
        graph = graph_of(network, self.model)
        self.run = nk.Pruning(self.model, self.optimizer, method, self.subject.inputs(), graph=graph, **seen)

    def train(self, step: int) -> None:
        self.optimizer.zero_grad()
        loss_of(self.model, self.subject.batch(step, dist.get_rank(), dist.get_world_size())).backward()
        self.run.step()

    def state(self) -> dict[str, Any]:
        return {"run": self.run.state_dict(), "model": self.model.state_dict(), "optim": self.optimizer.state_dict()}

    def to_bytes(self) -> bytes:
        file = io.BytesIO()
        torch.save(self.state(), file)
        return file.getvalue()

    def load(self, data: bytes) -> None:
        state = torch.load(io.BytesIO(data), weights_only=True)
        self.run.load_state_dict(state["run"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optim"])

    def marks(self) -> list[str]:
        """Of all that the run has, bit for bit: on this rank."""
        return [digest(parts(value)) for value in self.state().values()]


def parts(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): parts(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return {str(k): parts(v) for k, v in enumerate(value)}
    return local(value) if isinstance(value, Tensor) else value


def least_is_the_same_to_the_last(seed: int, wrap: Wrap, dim: int = 0) -> None:
    """Many equal worths, over tensors of unlike shapes: the same go, of equals the first."""
    like = dict(wrap(TALL, TALL.model()).named_parameters())["last.weight"]
    mesh, placements = like.device_mesh, like.placements
    drawn = torch.Generator().manual_seed(seed)
    shapes = [(5, 4), (8, 3, 2, 2), (4, 9), (3, 2), (12, 8)]
    wholes = {f"t{k}": torch.randint(-3, 4, s, generator=drawn).float() / 4 for k, s in enumerate(shapes)}
    wholes["t0"][1, 2], wholes["t0"][0, 1], wholes["t3"][:] = -torch.inf, -0.0, 0.25
    held = {name: spread_over(t, DTensor.from_local(local(like), mesh, placements)) for name, t in wholes.items()}
    held["t2"] = wholes["t2"]  # one that every rank holds whole
    for scope in ("group", "global"):
        for share in (0.0, 0.3, 0.55, 0.97):
            wanted = select_each(wholes, nk.Ratio(share, scope=scope))
            found = select_each(held, nk.Ratio(share, scope=scope))
            for name, mask in wanted.items():
                assert torch.equal(whole(found[name]), mask), (scope, share, name)


def random_is_drawn_as_by_one(wrap: Wrap) -> None:
    weight = dict(wrap(TALL, TALL.model()).named_parameters())["layers.0.weight"]
    assert torch.equal(whole(nk.scores.Random(4).each("x", weight)), nk.scores.Random(4).each("x", whole(weight)))


def cases(folder: Path) -> dict[str, Callable[[], None]]:
    found: dict[str, Callable[[], None]] = {
        "memory": no_rank_holds_it_whole,
        "columns": columns_are_cut_where_they_are,
        "training goes on": partial(every_parameter_goes_on, sharded),
        "settings": settings_stay,
        "checkpointed": partial(checkpointed_activations_stay, "composed"),
        "checkpointed/wrapped": partial(checkpointed_activations_stay, "wrapped"),
        "saved": partial(saved_in_parts, folder),
        "random": partial(random_is_drawn_as_by_one, sharded),
    }
    for seed in range(3):
        found[f"least/{seed}"] = partial(least_is_the_same_to_the_last, seed, sharded)
    if dist.get_world_size() > 2:
        return found | {
            "least/hsdp": partial(least_is_the_same_to_the_last, 9, hybrid),
            "training goes on/hsdp": partial(every_parameter_goes_on, hybrid),
        }
    for name, network, wrap in RESUMED:
        found[f"resumes/{name}/{wrap.__name__}"] = partial(resumes, name, network, wrap)
    return found
