"""What a product computes is told apart from how wide it is, and computed alone it is the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.forecast.hardware import Place
from niwaki.forecast.kernels import kernel
from niwaki.graph.work import Convolution, Linear, Task
from niwaki.testing.zoo import Specimen
from tests.laws.table import every_specimen, traced

ALONE = "NIWAKI_TEST_OPENVINO"


def place(runtime: str) -> Place:
    return Place(runtime, 1, torch.device("cpu"), torch.float32)


def test_a_place_is_laid_out_as_its_model() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(8, 2))
    usual = Place.of(model, "pytorch", 1)
    last = Place.of(model.to(memory_format=torch.channels_last), "pytorch", 1)  # type: ignore[call-overload]
    assert (usual.channels_last, last.channels_last) == (False, True)
    assert usual.name != last.name
    assert Place.of(model, "openvino", 1).name == place("openvino").name
    task = Task(Convolution(1, (8, 8), (6, 6), (3, 3), (1, 1), (0, 0), (1, 1), bias=True), 8, 4, 4)
    (one,), (two,) = kernel(task, usual)(), kernel(task, last)()
    assert (one.is_contiguous(), two.is_contiguous()) == (True, False)
    assert torch.allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("runtime", ["pytorch", "onnxruntime"])
def test_a_model_without_values_has_no_place(runtime: str) -> None:
    with pytest.raises(BadInput, match="a model on the meta device computes nothing that could be timed"):
        Place.of(nn.Linear(2, 2, device="meta"), runtime, 1)


@every_specimen
def test_work_counts_as_its_cost_does(plant: Specimen) -> None:
    """Dense, and with a third of all units gone."""
    graph = traced(plant)
    plan = nk.plan(graph, nk.scores.L1(), nk.Ratio(1 / 3))
    for gone in (graph.removed_atoms({}), graph.atoms_gone(plan.removed)):
        for cost in graph.ledger.costs:
            if cost.work is not None:
                assert cost.work.task(~gone).macs == cost.macs(~gone), cost.site


def test_rows_that_go_make_a_product_smaller() -> None:
    """The second layer runs over the positions, and the first one's units are its rows."""

    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.over = nn.Linear(4, 32, bias=False), nn.Linear(6, 6, bias=False)
            self.last = nn.Linear(32, 3, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.over(self.first(x).transpose(1, 2)).transpose(1, 2)
            found: torch.Tensor = self.last(y)
            return found

    model, x = Mixer(), torch.ones(2, 6, 4)
    graph = nk.trace(model, x)
    selection = {"first": tuple(range(16))}
    small = nk.cut(model, nk.make_plan(graph, selection))
    assert graph.macs(selection) == nk.measure.macs(small, x) == 2 * 6 * 4 * 16 + 2 * 16 * 6 * 6 + 2 * 6 * 16 * 3
    gone = graph.removed_atoms(selection)
    over = [cost.work.task(~gone) for cost in graph.ledger.costs if cost.work is not None][1]
    assert over == Task(Linear(2 * 16, bias=False), 6, 6, 6)


def test_plain_networks_are_products_throughout() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.Conv2d(8, 8, 3, groups=8, stride=2),
        nn.ConvTranspose2d(8, 6, 2, stride=2, output_padding=1),
        nn.Flatten(),
        nn.Linear(6 * 49, 5),
    )
    graph = nk.trace(net, torch.ones(2, 3, 8, 8))
    everything = np.ones(graph.ledger.size, bool)
    tasks = [cost.work.task(everything) for cost in graph.ledger.costs if cost.work is not None]
    assert tasks == [
        Task(Convolution(2, (8, 8), (8, 8), (3, 3), (1, 1), (1, 1), (1, 1), bias=False), 8, 3, 3),
        Task(Convolution(2, (8, 8), (3, 3), (3, 3), (2, 2), (0, 0), (1, 1), bias=True), 8, 1, 8),
        Task(Convolution(2, (3, 3), (7, 7), (2, 2), (2, 2), (0, 0), (1, 1), bias=True, extra=(1, 1)), 6, 8, 8),
        Task(Linear(2, bias=True), 5, 294, 294),
    ]
    assert [task.groups for task in tasks] == [1, 8, 1, 1]


TASKS = {
    "linear": Task(Linear(4, bias=True), 5, 3, 3),
    "linear without bias": Task(Linear(4, bias=False), 5, 3, 3),
    "convolution": Task(Convolution(2, (9, 8), (5, 4), (3, 3), (2, 2), (1, 1), (1, 1), bias=True), 6, 3, 3),
    "depthwise": Task(Convolution(1, (8, 8), (6, 6), (3, 3), (1, 1), (0, 0), (1, 1), bias=False), 6, 1, 6),
    "grouped": Task(Convolution(1, (8,), (6,), (3,), (1,), (0,), (1,), bias=False), 6, 2, 4),
    "same": Task(Convolution(1, (8, 8), (8, 8), (5, 3), (1, 1), "same", (1, 2), bias=False), 2, 3, 3),
    "valid": Task(Convolution(1, (8, 8), (6, 6), (3, 3), (1, 1), "valid", (1, 1), bias=False), 2, 3, 3),
    "volume": Task(
        Convolution(1, (4, 4, 4), (2, 2, 2), (3, 3, 3), (1, 1, 1), (0, 0, 0), (1, 1, 1), bias=True), 2, 3, 3
    ),
    "transposed": Task(
        Convolution(1, (4, 4), (9, 9), (2, 2), (2, 2), (0, 0), (1, 1), bias=True, extra=(1, 1)), 3, 2, 2
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_alone_it_has_the_size_that_it_has_in_a_network(name: str) -> None:
    task = TASKS[name]
    (found,) = kernel(task, place("pytorch"))()
    if isinstance(task.form, Linear):
        assert found.shape == (task.form.rows, task.made)
    else:
        assert found.shape == (task.form.batch, task.made, *task.form.result)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_alone_it_is_the_same_in_every_runtime(name: str, runtime: str) -> None:
    if runtime == "openvino" and ALONE not in os.environ:
        pytest.skip("in a process of its own: see below")
    for package in ("onnx", runtime):
        pytest.importorskip(package)
    task = TASKS[name]
    (wanted,) = kernel(task, place("pytorch"))()
    found = torch.as_tensor(np.array(kernel(task, place(runtime))()[0]))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(find_spec("openvino") is None or find_spec("onnx") is None, reason="not installed")
@pytest.mark.skipif(ALONE in os.environ, reason="this is that process")
def test_openvino_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", __file__, "-k", "openvino"]
    done = subprocess.run(command, env={**os.environ, ALONE: "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert f"{len(TASKS)} passed" in done.stdout
