"""Each runtime computes what the model computes, and is timed beside others of its kind."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput, MissingExtra
from niwaki.measure import RUNTIMES, latency, runtimes
from niwaki.recipes import Measure
from niwaki.recipes.timing import latencies, rehearse_timing

ALONE = "NIWAKI_TEST_OPENVINO"
NEEDS = {"onnxruntime": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 8), nn.Linear(4, 8)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.relu(self.first(x)) - self.second(y)


INPUTS: dict[str, Any] = {
    "positional": (torch.randn(2, 4), torch.randn(2, 4)),
    "by name": {"x": torch.randn(2, 4), "y": torch.randn(2, 4)},
}


def need(runtime: str) -> None:
    if runtime == "openvino" and ALONE not in os.environ:
        pytest.skip("in a process of its own: see below")
    for package in NEEDS.get(runtime, ()):
        pytest.importorskip(package)


@pytest.mark.parametrize("runtime", [name for name in RUNTIMES if name != "compile"])
@pytest.mark.parametrize("kind", INPUTS)
def test_models_are_timed_in_every_runtime(runtime: str, kind: str) -> None:
    need(runtime)
    model = TwoInputs()
    found = latency({"one": model, "two": model}, INPUTS[kind], runtime=runtime, runs=3, warmup=1)
    assert [timing.runs for timing in found.values()] == [3, 3]
    assert all((timing.ready_s > 0) == (runtime != "pytorch") for timing in found.values())
    assert model.training


def test_a_compiled_model_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled is a copy in eval mode; the model itself is left as it was."""
    seen: list[nn.Module] = []

    def compile_(model: nn.Module, dynamic: bool) -> nn.Module:
        assert not dynamic
        seen.append(model)
        return model

    monkeypatch.setattr(torch, "compile", compile_)
    model = TwoInputs()
    latency(model, INPUTS["positional"], runtime="compile", runs=1, warmup=0)
    assert [type(each) for each in seen] == [TwoInputs]
    assert seen[0] is not model
    assert not seen[0].training
    assert model.training


def test_a_ninth_network_of_a_class_is_compiled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynamo's limit is of all copies of a class together, and what is over it runs as it is."""
    from torch._dynamo import config

    seen: list[tuple[int, bool]] = []

    class Watching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((config.recompile_limit, config.fail_on_recompile_limit_hit))
            return x

    monkeypatch.setattr(torch, "compile", lambda model, dynamic: model)
    before = config.recompile_limit
    latency(Watching(), torch.ones(1), runtime="compile", runs=1, warmup=0)
    assert seen[0] == (100_000, True)
    assert config.recompile_limit == before


class Optional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor, bias: Tensor | None = None, scale: float = 1.0, shift: Tensor | None = None) -> Any:
        found = self.layer(x) * scale
        found = found if bias is None else found + bias
        return {"out": found if shift is None else found + 2 * shift}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_arguments_that_are_no_tensors_are_part_of_the_model(runtime: str, tmp_path: Path) -> None:
    need(runtime)
    torch.manual_seed(0)
    model, x, shift = Optional().eval(), torch.randn(2, 4), torch.randn(2, 3)
    write, read, ending = {
        "onnxruntime": (nk.export.onnx, nk.export.onnx_session, "onnx"),
        "openvino": (nk.export.openvino, nk.export.openvino_session, "xml"),
    }[runtime]
    inputs: list[Any] = [(x, None, 2.0, shift), {"scale": 2.0, "x": x, "shift": shift}, {"shift": shift, "x": x}]
    for k, given in enumerate(inputs):
        session = read(write(model, given, tmp_path / f"{k}.{ending}"))
        args, kwargs = (given, {}) if isinstance(given, tuple) else ((), given)
        torch.testing.assert_close(session(*args, **kwargs)[0], model(*args, **kwargs)["out"].detach())


def test_caches_among_outputs_do_not_matter(tmp_path: Path) -> None:
    need("openvino")
    pytest.importorskip("transformers")
    from tests.text import tiny

    llama, tokens = tiny.llama(), {"input_ids": torch.randint(4, 20, (2, 6))}
    session = nk.export.openvino_session(nk.export.openvino(llama, tokens, tmp_path / "llama.xml"))
    torch.testing.assert_close(session(**tokens)[0], llama(**tokens).logits.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_types_that_numpy_lacks_are_told(runtime: str, tmp_path: Path) -> None:
    need(runtime)
    model, x = nn.Linear(4, 3), torch.randn(2, 4)
    if runtime == "onnxruntime":
        session = nk.export.onnx_session(nk.export.onnx(model, x, tmp_path / "m.onnx"))
    else:
        session = nk.export.openvino_session(nk.export.openvino(model, x, tmp_path / "m.xml"))
    with pytest.raises(BadInput, match="no bfloat16; give model and inputs in float32"):
        session(x.bfloat16())


def test_what_openvino_cannot_take_is_told(tmp_path: Path) -> None:
    need("openvino")

    with pytest.raises(BadInput, match="Deciding cannot be written for OpenVINO: "):
        nk.export.openvino(Deciding(), torch.ones(2), tmp_path / "m.xml")
    assert list(tmp_path.iterdir()) == []


def test_runtimes_are_told_by_name() -> None:
    with pytest.raises(BadInput, match="no runtime is called 'onxruntime'; did you mean 'onnxruntime'"):
        runtimes.ready(nn.Linear(2, 2), torch.ones(1, 2), "onxruntime")


@pytest.mark.parametrize("kind", INPUTS)
def test_openvino_equals_torch_and_is_certified(tmp_path: Path, kind: str) -> None:
    need("openvino")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5)).train()
    x = torch.randn(2, 3, 6, 6)
    plan = nk.plan(nk.trace(net, x))
    cut = nk.cut(net, plan)
    path = tmp_path / "deep" / "small.xml"
    given = x if kind == "positional" else {"input": x}
    assert nk.export.openvino(cut, given, path, dynamic="batch") == path
    assert sorted(p.name for p in path.parent.iterdir()) == ["small.bin", "small.xml"]
    assert cut.training
    session = nk.export.openvino_session(path)
    cut.eval()
    for batch in (2, 5):
        more = torch.randn(batch, 3, 6, 6)
        with torch.no_grad():
            torch.testing.assert_close(session(more)[0], cut(more), rtol=1e-4, atol=1e-5)
    assert nk.certify(net, plan, cut, x, exported=session).holds


def test_openvino_tells_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("openvino")
    with pytest.raises(BadInput, match=r"end in \.xml, with a \.bin beside it; name .*model\.xml"):
        nk.export.openvino(nn.Linear(2, 2), torch.ones(1, 2), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput, match="no file of OpenVINO at"):
        nk.export.openvino_session(tmp_path / "none.xml")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"niwaki\[openvino\]"):
        nk.export.openvino(nn.Linear(2, 2), torch.ones(1, 2), tmp_path / "model.xml")


def test_recipes_try_openvino_before_they_train() -> None:
    need("openvino")
    plan, x = Measure(("openvino",), runs=2), torch.randn(2, 4)
    rehearse_timing(plan, nn.Linear(4, 3), x)
    with pytest.raises(BadInput, match="Deciding cannot be written for OpenVINO: "):
        rehearse_timing(plan, Deciding(), x)
    rehearse_timing(Measure(("openvino",), runs=0), Deciding(), x)
    (timed,) = latencies(plan, {"a": nn.Linear(4, 3)}, {}, x)["a"]
    assert (timed.runtime, timed.runs, timed.batch) == ("OpenVINO", 2, 2)


class Deciding(nn.Module):
    """What it gives depends on values, which an exporter does not see."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
@pytest.mark.skipif(ALONE in os.environ, reason="this is the process")
def test_openvino_in_a_process_of_its_own() -> None:
    """The threads that it starts stay, and other tests fork processes."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "openvino or caches"]
    environment = {**os.environ, ALONE: "1", "OMP_NUM_THREADS": "1"}
    told = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout
    assert " passed" in told.stdout
