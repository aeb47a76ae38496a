"""What a delivered folder holds, and that it says no more than what is so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

import niwaki as nk
from niwaki.artefact import Measured, Measurements
from niwaki.artefact.structure import packed, unpacked
from niwaki.errors import BadInput
from niwaki.report import Latency
from tests.artefact.gardens import NAMES, cut, delivered

FILES = {
    "README.md", "certificate.json", "environment.json", "examples.json", "examples.safetensors", "load.py",
    "manifest.json", "measurements.json", "model.safetensors", "modules.json", "plan.json",
}  # fmt: skip
FRESH = """
import sys
from pathlib import Path
import niwaki as nk
from tests.artefact.gardens import grown
for name in sys.argv[2:]:
    build = lambda: grown(name)
    verdict = nk.verify(Path(sys.argv[1], name), model=build, dense=build)
    assert verdict.holds, f"{name}: {verdict}"
    assert not verdict.left_out, f"{name}: {verdict}"
"""


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return delivered("vgg_flatten", tmp_path_factory.mktemp("vgg") / "small", license="mit", notes=["Be kind | to it."])


def test_what_is_delivered_holds_in_a_fresh_process(tmp_path: Path) -> None:
    for name in NAMES:
        delivered(name, tmp_path / name)
    root = Path(__file__).parents[2]
    words = [sys.executable, "-c", FRESH, str(tmp_path), *NAMES]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr


def test_every_exported_file_is_in_the_certificate(tmp_path: Path) -> None:
    """Each at all sizes that were to vary; and one that is of another model is found out."""
    for needed in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(needed)
    dense, small, inputs = cut("vgg_flatten")
    nk.export.onnx(small, inputs, tmp_path / "model.onnx", dynamic="batch")
    nk.export.openvino(dense, inputs, tmp_path / "model.xml", dynamic="batch")
    nk.export.torch_export(small, inputs, tmp_path / "model.pt2", dynamic="batch")
    nk.deliver(small, tmp_path, inputs=inputs, dense=dense, dynamic="batch")
    checks = read(tmp_path / "certificate.json")["checks"]
    for name, holds in (("onnx", True), ("torch_export", True), ("openvino", False)):
        mine = [check for check in checks if check["name"] == name and check["kind"] == "forward"]
        assert all(check["holds"] for check in mine) is holds
        assert any(check["detail"].startswith("batch ") for check in mine)


def test_all_files_are_there_and_listed(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == FILES
    manifest = read(folder / "manifest.json")
    assert set(manifest["files"]) == FILES - {"manifest.json"}
    assert manifest["files"]["plan.json"]["bytes"] == (folder / "plan.json").stat().st_size
    assert read(folder / "certificate.json")["holds"] is True


def test_only_what_was_measured_is_told(folder: Path) -> None:
    told = read(folder / "measurements.json")
    dense, small, inputs = cut("vgg_flatten")
    wanted = {
        "parameters": nk.measure.params(small),
        "nonzero_parameters": nk.measure.nonzero(small),
        "macs": nk.measure.macs(small, inputs) // told["batch"],
        "activation_bytes": nk.measure.activations(small, inputs),
        "peak_bytes": nk.measure.peak_memory(small, inputs),
        "file_bytes": nk.measure.file_bytes(small),
    }
    assert told["after"] == wanted
    assert told["before"]["parameters"] == nk.measure.params(dense) > wanted["parameters"]
    assert set(told["units"]) == set(wanted)
    assert told["machine"]["cores"] >= 1


def test_examples_are_what_the_model_answers(folder: Path) -> None:
    _, small, inputs = cut("vgg_flatten")
    tensors, rows = load_file(folder / "examples.safetensors"), read(folder / "examples.json")["examples"]
    assert [row["origin"] for row in rows] == ["given", 0, 1]
    for row in rows:
        (args, kwargs) = (part for part in row["call"]["list"])
        assert kwargs == {"dict": {}}
        (given,) = args["list"]
        with torch.no_grad():
            assert torch.equal(small.eval()(tensors[given["tensor"]]), tensors[row["outputs"][0]])
    assert len({float(t.sum()) for name, t in tensors.items() if "input" in name}) == 3
    assert torch.equal(tensors["0.input.0.0"], inputs if isinstance(inputs, torch.Tensor) else inputs[0])


def test_delivered_twice_is_the_same_but_for_the_date(tmp_path: Path) -> None:
    folders = [delivered("chunk_halves", tmp_path / word) for word in ("a", "b")]
    left, right = (read(folder / "manifest.json")["files"] for folder in folders)
    left.pop("environment.json")
    right.pop("environment.json")
    assert left == right


def test_the_card_tells_it(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head) == {"library_name": "pytorch", "tags": ["pruned", "niwaki"], "license": "mit"}
    assert "× the parameters and " in body
    assert "3 comparisons, of outputs and gradients, hold" in body
    assert "Be kind | to it." in body
    assert "from load import load" in body
    assert "from_pretrained" not in body
    assert "By code; no recipe was given." in body
    plan = read(folder / "plan.json")
    for name, group in plan["groups"].items():
        if group["removed"]:
            assert f"| {name} | {group['kind']} | {group['units']:,} | {group['kept']:,} |" in body


def test_a_failing_certificate_is_shouted(tmp_path: Path) -> None:
    _, small, inputs = cut("vgg_flatten")
    from niwaki.surgery.certify import Certificate, Check

    plan = nk.plan_of(small)
    assert plan is not None
    broken = Certificate((Check("cut", "masked", "forward", 0.5, 1e-5),), plan.fingerprint, {})
    folder = nk.deliver(small, tmp_path, inputs=inputs, certificate=broken)
    assert "ITS CERTIFICATE DOES NOT HOLD" in (folder / "README.md").read_text()
    assert [f.subject for f in nk.verify(folder).failing] == ["certificate.json"]


def test_given_figures_recipe_and_command_are_told(tmp_path: Path) -> None:
    _, small, inputs = cut("vgg_flatten")
    clock = [Latency("PyTorch", 1, 2, ms, ms, 0.0, 5) for ms in (8.0, 4.0)]
    figures = Measurements(Measured(latency=clock[1:]), Measured(latency=clock[:1]), 2)
    recipe = {"model": "garden:build", "note": "```"}
    folder = nk.deliver(
        small, tmp_path, inputs=inputs, measurements=figures, recipe=recipe, command="niwaki prune r.yaml",
        function="garden:build", arguments={"width": 8, "kind": "a"}, base_model="acme/vgg",
    )  # fmt: skip
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| time in PyTorch (1 thread, batch of 2) | 8.00 ms | 4.00 ms | 0.50× |" in card
    assert "| parameters |" not in card
    assert "niwaki prune r.yaml" in card
    assert "````yaml\n" in card
    assert "base_model: acme/vgg" in card
    assert "from garden import build" in card
    assert "build(width=8, kind='a')" in card
    assert yaml.safe_load((folder / "recipe.yaml").read_text()) == recipe
    assert set(read(folder / "measurements.json")["after"]) == {"latency"}
    assert not (folder / "certificate.json").exists()
    assert "It comes without a certificate." in card
    again = nk.deliver(small, tmp_path)  # what is not given again is not told again
    left = {path.name for path in again.iterdir()}
    assert left == FILES - {"certificate.json", "examples.json", "examples.safetensors"}


class Answers(nn.Module):
    """Nothing, or what is no number; whole numbers alone, or none that is finite."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.a, self.b, self.what = nn.Linear(4, 8), nn.Linear(8, 2), what

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.b(torch.relu(self.a(x)))
        made = {"empty": y[:0], "no number": torch.log(-1 - y.abs()), "whole": y.argmax(-1), "endless": y / 0}
        return made[self.what]


@pytest.mark.parametrize(
    ("what", "said"), [("empty", "no tensor that could be compared"), ("no number", "what is no number")]
)
def test_answers_that_cannot_be_compared_are_refused(what: str, said: str, tmp_path: Path) -> None:
    model = Answers(what)
    small = nk.cut(model, nk.plan(nk.trace(model, torch.ones(2, 4))))
    with pytest.raises(BadInput, match=said):
        nk.deliver(small, tmp_path / "small", inputs=torch.ones(2, 4))
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("what", ["whole", "endless"])
def test_whole_numbers_and_infinities_are_compared(what: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Answers(what), torch.randn(20, 4)
    small = nk.cut(model, nk.plan(nk.trace(model, x)))
    nk.deliver(small, tmp_path, inputs=x)
    assert nk.verify(tmp_path, model=lambda: Answers(what)).holds
    with torch.no_grad():
        small.b.weight.neg_()
        small.b.bias.neg_()
    other = load_file(nk.deliver(small, tmp_path / "other", inputs=x) / "examples.safetensors")
    assert not torch.equal(other["0.output.0"], load_file(tmp_path / "examples.safetensors")["0.output.0"])


def test_a_name_that_the_manifest_could_not_be_read_with_is_refused(tmp_path: Path) -> None:
    _, small, _ = cut("vgg_flatten")
    (tmp_path / "log 12:30.txt").write_text("")
    with pytest.raises(BadInput, match=r"holds 'log 12:30\.txt', a name that not every system takes.*Rename it"):
        nk.deliver(small, tmp_path)


def test_the_config_of_an_older_model_goes_and_one_of_the_user_s_stays(tmp_path: Path) -> None:
    _, small, _ = cut("vgg_flatten")
    (tmp_path / "config.json").write_text('{"transformers_version": "5.0", "model_type": "bert"}')
    (tmp_path / "generation_config.json").write_text('{"mine": 1}')
    nk.deliver(small, tmp_path)
    assert not (tmp_path / "config.json").exists()
    assert (tmp_path / "generation_config.json").exists()


def test_large_examples_are_refused_or_fewer(tmp_path: Path) -> None:
    _, small, inputs = cut("vgg_flatten")
    with pytest.raises(BadInput, match=r"takes [\d,]+ bytes, more than the limit of 100\. Give inputs of fewer rows"):
        nk.deliver(small, tmp_path, inputs=inputs, limit=100)
    one = (inputs if isinstance(inputs, torch.Tensor) else inputs[0]).numel() * 4
    folder = nk.deliver(small, tmp_path, inputs=inputs, limit=2 * one)
    assert len(read(folder / "examples.json")["examples"]) == 1


def test_an_export_of_an_older_model_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    dense, small, inputs = cut("vgg_flatten")
    nk.export.openvino(dense, inputs, tmp_path / "model.xml")
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(BadInput, match=r"model\.xml is not of this model: .*Export it again, or remove it"):
        nk.deliver(small, tmp_path, inputs=inputs)
    assert {path.name for path in tmp_path.iterdir()} == before
    nk.export.openvino(small, inputs, tmp_path / "model.xml")
    nk.deliver(small, tmp_path, inputs=inputs)
    assert "model.xml" in read(tmp_path / "manifest.json")["files"]


class Fields(NamedTuple):
    """As some models take it, and ask for by name."""

    x: torch.Tensor


def test_tuples_with_names_are_refused(tmp_path: Path) -> None:
    _, small, inputs = cut("vgg_flatten")
    with pytest.raises(BadInput, match="the inputs hold a Fields"):
        nk.deliver(small, tmp_path / "small", inputs=(inputs, Fields(inputs)))


def test_tensors_that_would_have_one_name_are_all_kept() -> None:
    one, two, three = (torch.full((2,), float(k)) for k in range(3))
    tensors: dict[str, torch.Tensor] = {}
    value = {"a": {"b": one}, "a.b": two, "a.b'": three}
    again = unpacked(packed(value, "0", tensors), tensors)
    assert len(tensors) == 3
    assert torch.equal(again["a"]["b"], one)
    assert torch.equal(again["a.b"], two)
    assert torch.equal(again["a.b'"], three)


def test_what_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    _, small, inputs = cut("vgg_flatten")
    with pytest.raises(BadInput, match=r"hold tensors and plain values .* the inputs hold a object"):
        nk.deliver(small, tmp_path / "small", inputs=(inputs, object()))
    assert not (tmp_path / "small").exists()
    with pytest.raises(BadInput, match="not cut by niwaki"):
        nk.deliver(nn.Linear(2, 2), tmp_path)


def chain(seed: int) -> tuple[nn.Module, nn.Module, nk.Plan]:
    torch.manual_seed(seed)
    dense = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    plan = nk.plan(nk.trace(dense, X))
    return dense, nk.cut(dense, plan), plan


X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, r"model\.pt2 may be of another model, and there is nothing to compare it on: give inputs"),
        ({"dense": None}, r"model\.pt2 may be of another model"),
        ({"certificate": None}, r"model\.pt2 may be of another model"),
        ({"certificate": None, "inputs": X}, r"model\.pt2 is not of this model: .*Export it again"),
    ],
)
def test_an_export_that_no_certificate_tells_of_is_compared(given: dict[str, Any], told: str, tmp_path: Path) -> None:
    nk.export.torch_export(chain(0)[1], X, tmp_path / "model.pt2")
    dense, small, plan = chain(1)
    own = {"dense": dense, "certificate": nk.certify(dense, plan, small, X), "inputs": X}
    with pytest.raises(BadInput, match=told):
        nk.deliver(small, tmp_path, **{key: own[key] for key in given})
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]
    path = nk.export.torch_export(small, X, tmp_path / "model.pt2")
    proven = nk.certify(dense, plan, small, X, exported={"torch_export": path})
    nk.deliver(small, tmp_path, certificate=proven)
    assert nk.verify(tmp_path, model=dense, inputs=X, trust_pt2=True).holds


@pytest.mark.parametrize("certified", [True, False])
def test_inputs_of_sizes_that_a_file_does_not_take_are_refused(certified: bool, tmp_path: Path) -> None:
    dense, small, _ = chain(0)
    more: dict[str, Any] = {"inputs": X, "more": [torch.randn(5, 4)], "dense": dense if certified else None}
    nk.export.torch_export(small, X, tmp_path / "model.pt2")
    with pytest.raises(BadInput, match=r"does not take the sizes of example 1: .*Export it with dynamic=…"):
        nk.deliver(small, tmp_path, **more)
    nk.export.torch_export(small, X, tmp_path / "model.pt2", dynamic="batch")
    nk.deliver(small, tmp_path, **more)
    verdict = nk.verify(tmp_path, model=dense, trust_pt2=True)
    assert verdict.holds
    assert "model.pt2" in {each.subject for each in verdict.findings if each.state == "holds"}
