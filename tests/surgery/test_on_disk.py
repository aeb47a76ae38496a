"""Planned and cut from files to files, a model is what it is when all is done in memory, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import niwaki as nk
from niwaki.disk import Checkpoint
from niwaki.errors import BadInput, BrokenFile
from niwaki.ranks import Ranks
from niwaki.surgery import split, store
from niwaki.surgery.store import own_tensors
from niwaki.testing.families import family
from niwaki.testing.zoo import Specimen
from tests.laws.table import every_specimen, traced
from tests.surgery.asking import answer


def hollow(model: nn.Module) -> nn.Module:
    """The same without values, as one builds it under ``torch.device("meta")``."""
    from niwaki.graph.copies import duplicate

    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    memo |= {id(b): b.to("meta") for n, b in model.named_buffers() if n in model.state_dict()}
    return duplicate(model, memo)


def stored(model: nn.Module, folder: Path) -> Checkpoint:
    folder.mkdir()
    save_file({n: t.detach().contiguous() for n, t in own_tensors(model).items()}, folder / "model.safetensors")
    return Checkpoint(folder)


@every_specimen
def test_it_is_what_it_is_in_memory(plant: Specimen, tmp_path: Path) -> None:
    graph = traced(plant)
    weights = stored(graph.model, tmp_path / "dense")
    score, target = nk.scores.L2(), nk.Ratio(0.4)
    here = nk.plan(graph, score, target)
    there = nk.plan(graph, score, target, weights=weights)
    assert there == here
    small = nk.cut(graph.model, here, config=False)
    folder = nk.cut_on_disk(hollow(graph.model), there, weights, tmp_path / "small", shard_bytes=500)
    found = nk.load(folder, plant.build())
    wanted = own_tensors(small)
    assert {n: torch.equal(t, wanted[n]) for n, t in own_tensors(found).items()} == dict.fromkeys(wanted, True)
    for a, b in zip(answer(small, plant.inputs()), answer(found, plant.inputs()), strict=True):
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b


class Counted(Checkpoint):
    """Counts how often the values of each tensor are asked for, and knows how many are alive."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.read: list[str] = []

    def __getitem__(self, name: str) -> Tensor:
        self.read.append(name)
        return super().__getitem__(name)


def llama(folder: Path) -> tuple[nn.Module, Any]:
    each = family("llama")
    model = each.build()
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="20KB")
    return nk.hollow(lambda: type(model)(model.config)), each.inputs()


def test_a_folder_of_hugging_face_to_a_folder(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model, inputs = llama(tmp_path / "dense")
    weights = Checkpoint(tmp_path / "dense")
    assert len({entry.file for entry in weights.entries.values()}) > 1
    graph = nk.trace(model, inputs)
    whole_heads = [g for g in graph.groups if g.kind != "head_dim"]  # a config cannot say which frequencies are left
    plan = nk.plan(graph, nk.scores.L1(), nk.Ratio(0.5), whole_heads, weights=weights)
    folder = nk.cut_on_disk(model, plan, weights, tmp_path / "small", shard_bytes=10_000)
    assert model.get_input_embeddings().weight.is_meta
    read = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    assert read.dtype is torch.bfloat16
    dense = AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype="auto").eval()
    small = nk.cut(dense, plan)
    assert torch.equal(answer(read, inputs)[0], answer(small, inputs)[0])
    assert nk.measure.params(read) < nk.measure.params(dense) * 0.6


def test_each_tensor_is_taken_once_to_be_cut(tmp_path: Path) -> None:
    model, inputs = llama(tmp_path / "dense")
    weights = Counted(tmp_path / "dense")
    plan = nk.plan(nk.trace(model, inputs), nk.scores.Random(0), nk.Ratio(0.5), weights=weights)
    weights.read.clear()
    told: list[str] = []
    nk.cut_on_disk(model, plan, weights, tmp_path / "small", tick=told.append)
    assert sorted(told) == sorted(weights)
    # Once for its shape, once for its type, once for its values: only the last reads them.
    assert {weights.read.count(name) for name in weights} == {3}


NET = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


@pytest.fixture
def job(tmp_path: Path) -> tuple[nn.Module, nk.Plan, Path]:
    graph = nk.trace(NET, torch.zeros(1, 4))
    return hollow(NET), nk.plan(graph), tmp_path / "small"


def test_weights_that_are_not_the_models_are_refused(job: tuple[nn.Module, nk.Plan, Path]) -> None:
    model, plan, folder = job
    good = {n: p.detach() for n, p in NET.named_parameters()}
    for wrong, text in (
        ({n: t for n, t in good.items() if n != "0.bias"}, "the model's '0.bias' is not among the weights"),
        ({**good, "3.bias": torch.zeros(1)}, "'3.bias' is stored, and the model has no such tensor"),
        ({**good, "0.bias": torch.zeros(5)}, r"'0.bias' is stored with shape \(5,\), the model's has \(6,\)"),
    ):
        with pytest.raises(BadInput, match=text):
            nk.cut_on_disk(model, plan, wrong, folder)
        with pytest.raises(BadInput, match=text):
            nk.plan(nk.trace(model, torch.zeros(1, 4)), weights=wrong)
    assert not folder.exists()


def test_the_dense_weights_are_not_overwritten(job: tuple[nn.Module, nk.Plan, Path], tmp_path: Path) -> None:
    model, plan, _ = job
    weights = stored(NET, tmp_path / "dense")
    before = (tmp_path / "dense" / "model.safetensors").read_bytes()
    for there in (weights, Checkpoint(tmp_path / "dense" / "model.safetensors")):
        with pytest.raises(BadInput, match=r"cannot be written to .*dense, where the dense ones are read from"):
            nk.cut_on_disk(model, plan, there, tmp_path / "dense")
    assert (tmp_path / "dense" / "model.safetensors").read_bytes() == before


def test_what_is_saved_in_shards_is_loaded(tmp_path: Path) -> None:
    small = nk.cut(NET, nk.plan(nk.trace(NET, torch.zeros(1, 4))))
    nk.save(small, tmp_path, shard_bytes=30)
    assert len(list(tmp_path.glob("model-*.safetensors"))) == 4
    x = torch.ones(2, 4)
    assert torch.equal(nk.load(tmp_path, NET)(x), small(x))
    nk.save(small, tmp_path)
    assert not list(tmp_path.glob("model-*"))
    assert torch.equal(nk.load(tmp_path, NET)(x), small(x))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, nn.Module, nn.Module]:
    """A folder with one cut model in shards, that model, and another one of the same sizes."""
    graph = nk.trace(NET, torch.zeros(1, 4))
    one, other = (nk.cut(NET, nk.plan(graph, nk.scores.Random(seed), nk.Ratio(0.5))) for seed in (0, 1))
    assert nk.plan_of(one) != nk.plan_of(other)
    return nk.save(one, tmp_path / "cut", shard_bytes=30), one, other


@pytest.mark.parametrize(("at", "begun"), [("0.weight", False), ("0.bias", True), ("2.bias", True)])
def test_two_cuts_are_not_mixed_by_one_that_is_broken_off(
    saved: tuple[Path, nn.Module, nn.Module], at: str, begun: bool
) -> None:
    folder, one, other = saved
    plan, x = nk.plan_of(other), torch.ones(2, 4)
    assert plan is not None

    def tick(name: str) -> None:
        if name == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nk.cut_on_disk(NET, plan, {n: p.detach() for n, p in NET.named_parameters()}, folder, shard_bytes=30, tick=tick)
    if begun:
        with pytest.raises(BrokenFile):
            nk.load(folder, NET)
    else:
        assert torch.equal(nk.load(folder, NET)(x), one(x))


@pytest.mark.parametrize("shard_bytes", [None, 30])
def test_new_weights_do_not_meet_an_old_plan(
    saved: tuple[Path, nn.Module, nn.Module], shard_bytes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, other = saved

    def broken(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_configs", broken)
    with pytest.raises(KeyboardInterrupt):
        nk.save(other, folder, shard_bytes=shard_bytes)
    with pytest.raises(BrokenFile, match=r"plan\.json"):
        nk.load(folder, NET)


@pytest.mark.parametrize("fails", [0, 1])
def test_ranks_that_are_broken_off_do_not_mix_either(
    saved: tuple[Path, nn.Module, nn.Module], fails: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, one, other = saved
    real, wrote = split.write_file, list[str]()

    def write(tensors: dict[str, Tensor], path: Path, stale: tuple[Path, ...]) -> None:
        if len(wrote) == fails:
            raise KeyboardInterrupt
        wrote.append(path.name)
        real(tensors, path, stale)

    monkeypatch.setattr(split, "write_file", write)
    with pytest.raises(KeyboardInterrupt):
        split.write_split(own_tensors(other), folder, Ranks.alone(), 30)
    if fails:
        with pytest.raises(BrokenFile):
            nk.load(folder, NET)
    else:
        assert torch.equal(nk.load(folder, NET)(torch.ones(2, 4)), one(torch.ones(2, 4)))
