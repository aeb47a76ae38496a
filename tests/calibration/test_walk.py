"""Walking block by block gives what running from the start gives; what is spilled is what was kept."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import niwaki as nk
from niwaki.calibration import Calibration, Source
from niwaki.calibration.batches import read
from niwaki.calibration.calls import record_calls
from niwaki.calibration.chain import find_chain
from niwaki.calibration.shelf import Shelf
from niwaki.calibration.walk import holds
from niwaki.testing.families import family
from tests.calibration.nets import alive, calibration, deep, images, perceptron


def chain_of(model: nn.Module, x: Tensor) -> list[str]:
    calls, *_ = record_calls(model, read(x, x))
    return [link.path for link in find_chain(model, calls).links]


def masses(found: Calibration) -> list[Tensor]:
    return [found.activity(b).mass() for b in found.blocks(found.graph.groups)]


def test_chains_are_found_at_the_finest_blocks() -> None:
    assert chain_of(deep(), images(2)) == ["blocks.0", "blocks.1", "blocks.2"]
    assert chain_of(perceptron(), torch.rand(2, 6)) == ["0", "1", "2", "3", "4"]
    nested = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
    assert chain_of(nested, torch.rand(2, 3)) == ["0.0", "0.1", "1.0", "1.1"]


@pytest.mark.parametrize("walk", [True, False])
def test_a_walk_runs_every_block_a_bounded_number_of_times(walk: bool) -> None:
    """Blocks run per batch: two on the way to and through each block, against one more for every block from the
    start."""
    model, x = deep(6), images(16)
    ran: list[int] = []
    for k, part in enumerate(model.blocks):
        part.conv1.register_forward_hook(lambda *_, k=k: ran.append(k))
    found = calibration(model, x, 8, walk=walk)
    ran.clear()
    masses(found)
    each = [ran.count(k) // 2 for k in range(6)]
    assert each == ([2, 2, 2, 2, 2, 1] if walk else [6, 5, 4, 3, 2, 1])


@pytest.mark.parametrize("name", ["llama", "bert", "gpt2", "resnet", "densenet", "t5_gated", "unet", "vit"])
def test_walking_equals_running_from_the_start(name: str) -> None:
    model, inputs = family(name).build().eval(), family(name).inputs()
    graph = nk.trace(model, inputs)
    one, other = (Calibration(model, graph, Source([inputs] * 2, inputs), walk=walk) for walk in (True, False))
    assert len(one._walk.chain) > (0 if name != "unet" else -1)
    assert len(other._walk.chain) == 0
    for a, b in zip(masses(one), masses(other), strict=True):
        assert torch.allclose(a, b, rtol=1e-5)


def test_a_block_whose_output_is_used_again_ends_the_walk() -> None:
    """The chain looks whole, but the head reads the first block's output too: only trying shows it."""

    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            outputs = []
            for layer in self.blocks:
                x = layer(x)
                outputs.append(x)
            return x + outputs[0]

    model, batch = alive(Skip()), read(torch.rand(3, 4), torch.rand(1, 4))
    calls, output, _ = record_calls(model, batch)
    chain = find_chain(model, calls)
    assert len(chain) == 3
    assert not holds(model, chain, batch, output)
    straight = perceptron()
    batch = read(torch.rand(3, 6), torch.rand(1, 6))
    calls, output, _ = record_calls(straight, batch)
    assert holds(straight, find_chain(straight, calls), batch, output)


class HalfInPlace(nn.Module):
    """Not the same when done twice."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu_().mul_(0.5)


def test_blocks_that_work_in_place_find_their_inputs_as_they_were() -> None:
    model = alive(nn.Sequential(nn.Linear(6, 8), HalfInPlace(), nn.Linear(8, 8), HalfInPlace(), nn.Linear(8, 2)))
    x = torch.randn(16, 6, generator=torch.Generator().manual_seed(3))
    before = x.clone()
    found = calibration(model, x, 8)
    first, second = found.blocks(found.graph.groups)
    assert torch.equal(found.activity(first).mass(), found.activity(first).mass())
    assert torch.equal(found.activity(second).mass(), found.activity(second).mass())
    assert torch.equal(x, before)


def test_the_model_is_left_as_it_was() -> None:
    model = deep().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    masses(calibration(model, images()))
    assert model.training
    assert model.blocks[0].training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert "forward" not in model.blocks[0].__dict__
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


def test_a_walk_that_spills_gives_the_same() -> None:
    kept, spilled = calibration(deep(), images()), calibration(deep(), images(), memory=0)
    assert all(torch.equal(a, b) for a, b in zip(masses(kept), masses(spilled), strict=True))
    assert kept._walk.shelf.spilled == 0
    assert spilled._walk.shelf.spilled > images().numel() * 4


def test_what_no_longer_serves_makes_room() -> None:
    """Room for the samples and for one block's outputs: a whole walk needs no more."""
    model, x = deep(6), images()
    one = 24 * 5 * 6 * 6 * 4
    found = calibration(model, x, 8, memory=x.numel() * 4 + 2 * one)
    masses(found)
    assert found._walk.shelf.spilled == 0


@pytest.mark.parametrize("memory", [0, 10**6])
def test_a_shelf_gives_back_what_it_was_given(memory: int) -> None:
    shelf = Shelf(memory)
    value = {"a": torch.rand(3, 4).t(), "b": (torch.arange(3), None, "x"), "c": [torch.rand(2, 3, 4, 4) > 0.5]}
    before = value["a"].clone()
    kept = shelf.put(value)
    found: Any = shelf.get(kept)
    assert torch.equal(found["a"], value["a"])
    assert torch.equal(found["b"][0], value["b"][0])
    assert found["b"][1:] == (None, "x")
    assert torch.equal(found["c"][0], value["c"][0])
    found["a"].zero_()
    assert torch.equal(shelf.get(kept)["a"], before)
    assert (kept.spilled is None) == (memory > 0)


def test_files_go_with_the_shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shelf = Shelf(0)
    kept = shelf.put(torch.rand(3))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
    shelf.drop(kept)
    assert list(tmp_path.rglob("*.safetensors")) == []
    shelf.put(torch.rand(3))
    del shelf
    assert list(tmp_path.iterdir()) == []


def test_a_forward_that_fails_leaves_no_stand_in() -> None:
    class Strict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
            self.count = 0

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            if self.count > 1:
                raise RuntimeError("no more")
            for layer in self.blocks:
                x = F.relu(layer(x))
            return x

    model, batch = Strict(), read(torch.rand(3, 4), torch.rand(1, 4))
    calls, output, _ = record_calls(model, batch)
    assert not holds(model, find_chain(model, calls), batch, output)
    assert all("forward" not in layer.__dict__ for layer in model.blocks)


def spilled(folder: Path) -> int:
    return len(list(folder.rglob("*.safetensors")))


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_closed_shelf_has_no_files_whoever_holds_it(room: Path) -> None:
    shelf = Shelf(0)
    shelf.put(torch.rand(3))
    shelf.close()
    assert list(room.iterdir()) == []
    kept = shelf.put(torch.ones(3))  # it can be filled anew
    assert torch.equal(shelf.get(kept), torch.ones(3))


def test_what_cannot_be_run_leaves_no_files_while_its_traceback_is_held(room: Path) -> None:
    """As a notebook holds the last one. A later batch that cannot be read, and a first one that cannot be run."""
    x, graph = torch.rand(4, 6), nk.trace(perceptron(), torch.rand(1, 6))
    for data in ([x, None], [torch.rand(4, 5)]):
        with pytest.raises(nk.errors.BadInput) as held:
            Calibration(perceptron(), graph, Source(data, x), memory=0)
        assert spilled(room) == 0
        assert held.tb is not None


@pytest.mark.parametrize("trouble", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("all_of_it", [False, True])
def test_a_call_that_fails_leaves_no_files_while_its_frames_are_held(
    trouble: type[BaseException], all_of_it: bool, room: Path
) -> None:
    """Its own frame, as torch holds it, whose modules keep the frames that first imported them in a cycle; or the whole
    traceback, as a notebook holds it."""
    model, x, held, seen = deep(), images(), [], []

    def fail(*_: Any) -> None:
        if not spilled(room):
            return
        frame = inspect.currentframe()
        while frame is not None and frame.f_code is not nk.prune.__code__:
            frame = frame.f_back
        held.append(frame)
        seen.append(spilled(room))
        if len(seen) > 3:
            raise trouble("no more")

    model.blocks[1].conv1.register_forward_hook(fail)
    try:
        nk.prune(model, x[:1], nk.methods.ispasp(nk.Ratio(0.5), memory=0), data=list(x.split(8)))
    except trouble as found:
        if all_of_it:
            held.append(found.__traceback__)
        else:
            found.__traceback__ = None
    assert len(seen) == 4
    assert min(seen) > 0
    assert spilled(room) == 0


def test_fresh_samples_take_the_place_of_the_last_ones(room: Path) -> None:
    """They are never kept together: that would be twice what was asked for. An earlier look cannot go over its own."""
    x, found = torch.rand(4, 6), []

    class Data:
        def __iter__(self) -> Iterator[Tensor]:
            found.append(spilled(room))
            return iter([x, x + 1])

    looked = Calibration(perceptron(), nk.trace(perceptron(), x), Source(Data(), x), 8, memory=0, fresh=True)
    block = looked.blocks(looked.graph.groups)[0]
    first = looked.activity(block)
    looked.activity(block)
    assert found == [0, 0, 0]
    assert spilled(room) == 2
    with pytest.raises(nk.errors.BadInput, match="have been let go of"):
        first.errors([torch.ones(len(block.group))])
    looked.close()
    assert spilled(room) == 0
    assert looked._walk.shelf.left == 0
