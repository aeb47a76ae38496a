"""Ranks that do not do the same, or fail: all stop, and say why. And what they tell each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

import niwaki as nk
from niwaki.errors import BadInput, CannotFollow, CannotWrite, RankFailed, RanksDiffer
from niwaki.methods import Choose, Cut, Mask, Method, sequence
from niwaki.ranks import Ranks, digest, local
from tests.distributed.methods_table import OPTIMIZERS, graph_of, pruned, replicated, sharded
from tests.distributed.nets import SUBJECTS, loss_of

NET = SUBJECTS["perceptron"]
HALF = nk.Ratio(0.4)
MARKS = r"[0-9a-f]{16} on rank 0(.*?); [0-9a-f]{16} on rank"


def begun(method: Method, *, seed: int = 0, model: Any = None, **more: Any) -> nk.Pruning:
    model = NET.model(seed) if model is None else model
    optimizer = OPTIMIZERS["perceptron"](model.parameters())
    return nk.Pruning(model, optimizer, method, NET.inputs(), graph=graph_of("perceptron", model), **more)


def raised(kind: type[Exception], pattern: str, do: Callable[[], Any]) -> None:
    with pytest.raises(kind, match=f"(?s){pattern}") as caught:
        do()
    assert caught.type is kind, repr(caught.value)


def other_weights_are_seen_at_the_choice() -> None:
    run = begun(nk.methods.magnitude(HALF), seed=dist.get_rank())
    last = dist.get_world_size() - 1
    raised(RanksDiffer, rf"what is chosen differs.*{MARKS}.*{last}.*weights differ too: load the same", run.step)


def other_weights_are_seen_at_the_cut() -> None:
    """Of a choice that was made alone."""
    run = begun(nk.methods.greg1(HALF, grow=0.4, every=2, hold=1), seed=dist.get_rank(), ranks=Ranks.alone())
    while run._state["index"] < 2:
        run.step()
    run.ranks = Ranks.here()
    raised(RanksDiffer, rf"the plan of a cut differs.*{MARKS}.*weights differ too", lambda: [run.step() for _ in "123"])


def a_network_without_its_wrapper_is_seen_after_the_cut() -> None:
    """The wrapper, which the run does not know of, goes on with the old parameters."""
    outer = DistributedDataParallel(NET.model(), find_unused_parameters=True)
    run = begun(nk.methods.magnitude(HALF), model=outer.module)

    def step(index: int) -> None:
        run.optimizer.zero_grad()
        loss_of(outer, NET.batch(index, dist.get_rank(), dist.get_world_size())).backward()
        run.step()

    step(0)
    assert run.finished
    told = rf"a sample of the weights one step after a cut differs.*{MARKS}.*wrap the model before"
    raised(RanksDiffer, told, lambda: step(1))


def a_wrapper_that_cannot_be_made_anew_is_refused_at_the_start() -> None:
    model = DistributedDataParallel(NET.model(), process_group=dist.new_group(list(range(dist.get_world_size()))))
    raised(CannotFollow, "over a process group of its own cannot be made anew", partial(begun, METHOD, model=model))
    mask = Method("mask", sequence(Choose(nk.scores.L1(), HALF), Mask()))
    run = begun(mask, model=model)
    run.step()
    assert run.finished


def another_seed_is_seen_at_once() -> None:
    method = nk.methods.random(HALF, seed=dist.get_rank())
    raised(RanksDiffer, rf"the method differs.*{MARKS}.*different methods", partial(begun, method))


@dataclass(frozen=True)
class Careless:
    """Draws without a seed of its own."""

    def __call__(self, group: nk.Group, tensors: Any) -> Tensor:
        return torch.rand(len(group))


def a_score_that_draws_is_named() -> None:
    torch.manual_seed(dist.get_rank())
    model = NET.model()
    torch.manual_seed(dist.get_rank())
    run = begun(Method("careless", sequence(Choose(Careless(), HALF), Cut())), model=model)
    raised(RanksDiffer, "weights and methods are the same.*draws without a seed", run.step)


def bad(rank: int, batches: list[Any]) -> Iterator[Any]:
    """Data of which one rank's break off."""
    yield batches[0]
    if dist.get_rank() == rank:
        raise OSError("the disk is gone")
    yield from batches[1:]


class Failing:
    """An iterable that breaks off again and again."""

    def __iter__(self) -> Iterator[Any]:
        return bad(1, NET.batches(dist.get_rank(), dist.get_world_size(), 12))


def failing_data_stop_all(method: Method) -> None:
    def go() -> None:
        begun(method, data=Failing(), loss=loss_of).step()

    if dist.get_rank() == 1:
        raised(OSError, "the disk is gone", go)
    else:
        raised(RankFailed, "stops on all ranks, because it failed on rank 1. rank 1: OSError: the disk is gone", go)


def a_choice_that_fails_on_one_rank_stops_all() -> None:
    """One rank asks for what cannot be had; it must not leave the others waiting."""
    run = begun(nk.methods.magnitude(HALF))
    if dist.get_rank() == 1:
        run._view._selected = partial(_refuse)  # type: ignore[method-assign]
        raised(BadInput, "not here", run.step)
    else:
        raised(RankFailed, "a choice stops.*BadInput: not here", run.step)


def _refuse(*_: Any) -> Any:
    raise BadInput("not here")


def a_start_that_fails_on_one_rank_stops_all() -> None:
    method: Any = nk.methods.magnitude(HALF) if dist.get_rank() else "magnitude"
    kind, text = (RankFailed, "rank 0: BadInput: method must come") if dist.get_rank() else (BadInput, "method must")
    raised(kind, text, partial(begun, method))


def sharded_models_need_as_many_batches() -> None:
    model = sharded(NET, NET.model())
    data = NET.batches(0, 1, 3 - (dist.get_rank() == 0))
    method = nk.methods.topk(HALF)
    counts = ", ".join("2" if rank == 0 else "3" for rank in range(dist.get_world_size()))
    raised(
        BadInput, rf"must run it as often, and they have \[{counts}\]", lambda: begun(method, model=model, data=data)
    )


def a_copy_of_a_sharded_model_is_refused() -> None:
    model = sharded(NET, NET.model())
    raised(BadInput, "'first.weight' lies on several ranks", lambda: nk.prune(model, NET.inputs(), METHOD))
    assert nk.trace(model, NET.inputs()).groups  # the model is as it was
    model(NET.batch(0, 0, 2)[0]).sum().backward()


METHOD = nk.methods.magnitude(HALF)


def n_of_m_across_shards_is_refused() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    from niwaki.surgery.singles import select_each

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    worth = distribute_tensor(torch.rand(4, 8), mesh, [Shard(1)])
    raised(BadInput, "sharded along dimension 1, where NM compares 8", lambda: select_each({"x": worth}, nk.NM("1:8")))


def n_of_m_inside_shards_is_that_of_one_process() -> None:
    """Inputs along dimension 0, as the Conv1D of transformers has them, along which FSDP deals them out."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    from niwaki.surgery.multiplied import Inputs, Weights
    from niwaki.surgery.singles import select_each

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    worth = torch.rand(4 * dist.get_world_size(), 3, generator=torch.Generator().manual_seed(0))
    found = [
        select_each(Weights({"x": t}, {"x": Inputs(0)}), nk.NM("2:4"))["x"]
        for t in (worth, distribute_tensor(worth, mesh, [Shard(0)]))
    ]
    assert torch.equal(found[1].full_tensor(), found[0])


def what_is_no_number_on_one_rank_is_refused_by_all() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    from niwaki.surgery.singles import select_each

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    worth = torch.rand(8, 4)
    worth[7, 1] = torch.nan
    sharded_worth = {"x": torch.rand(2, 2), "y": distribute_tensor(worth, mesh, [Shard(0)])}
    raised(BadInput, "weights of 'y' are worth NaN", lambda: select_each(sharded_worth, nk.Ratio(0.5)))


def alone_every_rank_does_as_it_likes() -> None:
    method = nk.methods.random(HALF, seed=dist.get_rank())
    run = begun(method, ranks=Ranks.alone())
    run.step()
    assert run.finished
    plans = Ranks.here().texts(digest(nk.plan_of(run.model).to_json()))
    assert len(set(plans)) > 1


def one_rank_alone_may_write_the_record() -> None:
    """Figures of single weights that lie on several ranks are computed by all, though one alone writes them down."""
    rows: list[Any] = []
    more = {"record": rows.append} if dist.get_rank() == 0 else {}
    method = nk.methods.greg1(HALF, grow=0.4, every=1, hold=1, of="weights")
    model = sharded(NET, NET.model())
    run = begun(method, model=model, **more)
    rows_alone: list[Any] = []
    single = begun(method, ranks=Ranks.alone(), record=rows_alone.append)
    for each in (run, single):
        while not each.finished:
            for p in each.model.parameters():
                p.grad = torch.zeros_like(p)
            each.step()
    assert bool(rows) == (dist.get_rank() == 0)
    for one, other in zip(rows, rows_alone, strict=False):
        assert one.keys() == other.keys()
        for key, value in one.items():
            close = isinstance(value, float) and abs(value - other[key]) <= 1e-5 * max(1.0, abs(value))
            assert close or value == other[key], (key, value, other[key])


def sums_are_over_all_and_keys_need_not_be_alike() -> None:
    ranks = Ranks.here()
    mine: dict[Any, Tensor] = {("all", (2, 1)): torch.tensor([1.0, ranks.rank], dtype=torch.float64)}
    if ranks.rank == 1:
        mine["own",] = torch.tensor(7)
    kept = {key: t.clone() for key, t in mine.items()}
    found = ranks.summed(mine)
    size = ranks.size
    assert found["all", (2, 1)].tolist() == [size, size * (size - 1) / 2]
    assert int(found["own",]) == 7
    assert found["own",].dtype == torch.int64
    assert all(torch.equal(mine[key], t) for key, t in kept.items()), "what was given has been changed"
    t = torch.tensor([float(ranks.rank + 3)])
    ranks.from_first([t])
    assert t.item() == 3
    assert ranks.texts("ü" * ranks.rank) == ["ü" * rank for rank in range(size)]


def running_means_are_those_of_the_first_rank() -> None:
    """As data parallelism has it: choices on data must not depend on what each rank's batch norms have seen."""
    subject = SUBJECTS["convolutions"]
    model = replicated(subject, subject.model())
    drawn = torch.Generator().manual_seed(dist.get_rank())
    for norm in (model.module.body[1], model.module.body[4]):
        norm.running_var.uniform_(0.02, 5.0, generator=drawn)
        norm.running_mean.normal_(generator=drawn)
    optimizer = OPTIMIZERS["convolutions"](model.parameters())
    data = subject.batches(dist.get_rank(), dist.get_world_size())
    run = nk.Pruning(model, optimizer, nk.methods.ispasp(HALF, iters=2), subject.inputs(), data=data)
    run.step()
    assert run.finished
    found = Ranks.here().texts(digest(dict(model.module.named_buffers())))
    assert len(set(found)) == 1


def penalties_reach_this_rank_s_part_and_no_other() -> None:
    """By hand: rows 3 and 5 of a weight of 10 rows are pressed, wherever they lie."""
    from niwaki.methods.view import Pressing
    from niwaki.penalties import Ridge
    from niwaki.train.pressure import Pressure

    model = sharded(NET, NET.model())
    up = model.blocks[0].up
    group = next(g for g in graph_of("perceptron", model).groups if g.makers[0].name == "blocks.0.up.weight")
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    pressure = Pressure({group.name: group}, {group.name: (3, 5)}, dict(model.named_parameters()))
    pressure.add(Pressing(Ridge(), {group.name: 2.0}, {group.name: -1.0}))
    factors = torch.full((10, 1), -1.0)
    factors[3] = factors[5] = 2.0
    assert torch.equal(up.weight.grad.full_tensor(), factors * up.weight.detach().full_tensor())
    assert local(up.weight).shape[0] < 10


def saving_that_fails_on_one_rank_stops_all(folder: Path) -> None:
    run = pruned("perceptron", METHOD, 1, sharded, dist.get_rank(), dist.get_world_size())
    place = folder / "there"
    if dist.get_rank() == 1:
        place = folder / "file"
        place.write_text("", encoding="utf-8")  # where a folder is to be
        raised(CannotWrite, "a file is where its folder must be", lambda: nk.save(run.model, place))
    else:
        raised(RankFailed, "rank 1: CannotWrite", lambda: nk.save(run.model, place))


def cases(folder: Path) -> dict[str, Callable[[], None]]:
    found: list[Callable[[], None]] = [
        other_weights_are_seen_at_the_choice,
        other_weights_are_seen_at_the_cut,
        a_network_without_its_wrapper_is_seen_after_the_cut,
        a_wrapper_that_cannot_be_made_anew_is_refused_at_the_start,
        another_seed_is_seen_at_once,
        a_score_that_draws_is_named,
        a_choice_that_fails_on_one_rank_stops_all,
        a_start_that_fails_on_one_rank_stops_all,
        sharded_models_need_as_many_batches,
        a_copy_of_a_sharded_model_is_refused,
        n_of_m_across_shards_is_refused,
        n_of_m_inside_shards_is_that_of_one_process,
        what_is_no_number_on_one_rank_is_refused_by_all,
        alone_every_rank_does_as_it_likes,
        one_rank_alone_may_write_the_record,
        sums_are_over_all_and_keys_need_not_be_alike,
        running_means_are_those_of_the_first_rank,
        penalties_reach_this_rank_s_part_and_no_other,
    ]
    looking = {"topk": nk.methods.topk(HALF), "michel": nk.methods.michel(HALF)}
    found.append(partial(saving_that_fails_on_one_rank_stops_all, folder))
    return {getattr(case, "__name__", "saving"): case for case in found} | {
        f"failing data/{name}": partial(failing_data_stop_all, method) for name, method in looking.items()
    }
