"""A folder that is not as it was is named by its fault; what could not be looked at is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import niwaki as nk
from niwaki.artefact import Verdict
from niwaki.errors import BadInput, BrokenFile
from tests.artefact.gardens import HUGGING, cut, delivered, grown, inputs_of, stamp_again

NAME = "vgg_flatten"
BUILD: Callable[[], nn.Module] = partial(grown, NAME)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return delivered(NAME, tmp_path_factory.mktemp("original") / "small")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "small"))


def failing(verdict: Verdict) -> dict[str, str]:
    assert not verdict.holds
    return {each.subject: each.detail for each in verdict.failing}


def test_it_holds_and_says_what_it_did_not_look_at(original: Path) -> None:
    seen: list[Any] = []
    verdict = nk.verify(original, model=BUILD, told=seen.append)
    assert verdict.holds
    assert verdict.findings == seen
    (left,) = verdict.left_out
    assert (left.subject, left.advice) == ("the certificate, anew", "give its weights: --dense")
    assert verdict.sentence.startswith(f"The folder holds (manifest {verdict.digest[:16]})")


def test_the_model_that_it_is_given_stays_as_it_was(original: Path) -> None:
    dense = BUILD().eval()
    before = {name: t.clone() for name, t in dense.state_dict().items()}
    assert nk.verify(original, model=lambda: dense, dense=lambda: dense).holds
    assert all(torch.equal(t, before[name]) for name, t in dense.state_dict().items())


def test_a_model_is_taken_where_a_function_is(original: Path) -> None:
    dense = BUILD().train()
    before = {name: t.clone() for name, t in dense.state_dict().items()}
    verdict = nk.verify(original, model=dense, dense=dense)
    assert verdict.holds
    assert not verdict.left_out
    assert dense.training
    assert all(torch.equal(t, before[name]) for name, t in dense.state_dict().items())
    wrong: Any = "garden:build"
    with pytest.raises(BadInput, match="dense must be a model or a function that builds one, not str"):
        nk.verify(original, dense=wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_model_on_a_gpu_is_asked_on_the_processor(original: Path) -> None:
    inputs = inputs_of(NAME)
    (x,) = inputs if isinstance(inputs, tuple) else (inputs,)
    dense = BUILD().cuda()
    for given in (dense, lambda: BUILD().cuda()):
        assert nk.verify(original, model=given, dense=given, inputs=x.cuda()).holds
    assert next(dense.parameters()).is_cuda


def test_without_a_model_it_is_not_enough(original: Path) -> None:
    verdict = nk.verify(original)
    assert not verdict.failing
    assert not verdict.holds
    assert "the model" in {each.subject for each in verdict.left_out}
    assert "NOT ENOUGH COULD BE CHECKED" in str(verdict)


def test_with_the_dense_model_the_certificate_is_made_again(original: Path) -> None:
    verdict = nk.verify(original, dense=BUILD)
    assert verdict.holds
    assert [f.subject for f in verdict.findings if f.kind == "certificate"] == [
        "cut = masked, forward", "cut = masked, gradient", "reloaded = cut, forward",
    ]  # fmt: skip
    other = nk.verify(original, model=BUILD, dense=lambda: nn.Linear(2, 2))
    assert "the plan is of another model" in failing(other)["the certificate, anew"]


@pytest.mark.parametrize(
    "name",
    [
        "README.md", "certificate.json", "environment.json", "examples.json", "examples.safetensors", "load.py",
        "measurements.json", "model.safetensors", "modules.json", "plan.json",
    ],
)  # fmt: skip
def test_a_file_that_changed_is_named(name: str, folder: Path) -> None:
    path = folder / name
    content = path.read_bytes()
    for changed, said in (
        (content[:-1] + bytes([content[-1] ^ 1]), "changed"),
        (content[: len(content) // 2], "cut short"),
        (content + b" ", "grown"),
        (None, "missing"),
    ):
        path.unlink() if changed is None else path.write_bytes(changed)
        found = failing(nk.verify(folder))
        assert list(found) == [name]
        assert said in found[name]


def test_what_changed_is_not_read(folder: Path) -> None:
    (folder / "plan.json").write_text("{}")
    verdict = nk.verify(folder, model=BUILD)
    assert list(failing(verdict)) == ["plan.json"]
    assert "plan.json is not as it was" in {each.detail for each in verdict.left_out}


def nudged(folder: Path) -> None:
    """Weights of another training, under hashes that fit."""
    tensors = load_file(folder / "model.safetensors")
    draw = torch.Generator().manual_seed(5)
    other = {n: torch.randn(t.shape, generator=draw) * 0.1 if t.dim() > 1 else t for n, t in tensors.items()}
    save_file(other, str(folder / "model.safetensors"))


def turned(folder: Path) -> None:
    """Another unit goes: every shape fits."""
    plan = json.loads((folder / "plan.json").read_text())
    row = max(plan["removed"], key=lambda row: len(row["indices"]))
    size, gone = plan["tensors"][row["tensor"]][row["dim"]], row["indices"]
    row["indices"] = gone[:-1] if len(gone) > 1 else list(range(min(2, size - 1)))
    (folder / "plan.json").write_text(json.dumps(plan))


def lacking(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(name for name in tensors if name.endswith("weight")))
    save_file(tensors, str(folder / "model.safetensors"))


def lying(folder: Path) -> None:
    told = json.loads((folder / "certificate.json").read_text())
    told["checks"][0]["holds"] = False
    (folder / "certificate.json").write_text(json.dumps(told))


def of_another(folder: Path) -> None:
    told = json.loads((folder / "certificate.json").read_text())
    (folder / "certificate.json").write_text(json.dumps(told | {"model": "0" * 16}))


def renamed(folder: Path) -> None:
    text = (folder / "examples.json").read_text().replace("0.output.0", "9.output.0")
    (folder / "examples.json").write_text(text)


def reshaped(folder: Path) -> None:
    tensors = load_file(folder / "examples.safetensors")
    tensors["1.output.0"] = tensors["1.output.0"][:1].clone()
    save_file(tensors, str(folder / "examples.safetensors"))


FAULTS = {
    "other weights": (nudged, "model.safetensors", "OTHERWISE THAN in examples.safetensors"),
    "another plan": (turned, "model.safetensors", "and plan.json leaves"),
    "a tensor less": (lacking, "model.safetensors", "and it is missing"),
    "a check that does not hold": (lying, "certificate.json", "it does not hold"),
    "a certificate of another model": (of_another, "certificate.json", "of another network than plan.json"),
    "an example without answers": (renamed, "examples.safetensors", "does not fit examples.safetensors"),
    "answers of another shape": (reshaped, "model.safetensors", "example 1: outputs of other shapes: "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_under_hashes_that_fit_is_named(fault: str, folder: Path) -> None:
    plant, subject, said = FAULTS[fault]
    plant(folder)
    stamp_again(folder, "model.safetensors", "plan.json", "certificate.json", "examples.json", "examples.safetensors")
    found = failing(nk.verify(folder, model=BUILD))
    assert subject in found
    assert said in found[subject]


def test_a_function_that_builds_another_model_is_told(original: Path) -> None:
    found = failing(nk.verify(original, model=lambda: nn.Linear(3, 3)))
    assert "it cannot be loaded: the plan is of another model" in found["the model"]


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/../b", "./plan.json", "a\\b", "", "C:x", "manifest.json"]
)
def test_a_name_that_leads_out_is_refused(name: str, folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = manifest["files"]["plan.json"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(BrokenFile, match="no name of a file in the folder; refused"):
        nk.verify(folder)


def test_a_link_that_leads_out_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "plan.json").rename(tmp_path / "plan.json")
    (folder / "plan.json").symlink_to(tmp_path / "plan.json")
    with pytest.raises(BrokenFile, match=r"'plan\.json' is a link that leads out of .* refused"):
        nk.verify(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not readable JSON"),
        ("[]", "must hold a JSON object"),
        ('{"format": "else"}', "must have the format 'niwaki.artefact'"),
        ('{"format": "niwaki.artefact", "version": 2}', "has version 2"),
        ('{"format": "niwaki.artefact", "version": 1, "files": []}', "must list 'files'"),
        ('{"format": "niwaki.artefact", "version": 1, "model": {}, "files": {"a": {}}}', "must have a 'sha256' of 64"),
    ],
)
def test_a_manifest_that_is_none_is_refused(text: str, said: str, folder: Path) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BrokenFile, match=said):
        nk.verify(folder)


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile, match=r"no manifest\.json in .* niwaki prune write such folders"):
        nk.verify(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "niwaki.artefact", "version": 1, "model": {}, "files": {}}')
    assert failing(nk.verify(tmp_path)) == {"manifest.json": "it lists no file"}


def test_strangers_are_told_and_not_read(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"none of niwaki's")
    verdict = nk.verify(folder, model=BUILD)
    assert verdict.holds
    assert verdict.left_out[0].subject == "model.onnx"
    assert "not in the manifest" in verdict.left_out[0].detail


@pytest.mark.parametrize("name", ["packing.json", "config.json"])
def test_strangers_that_a_loader_would_read_fail(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")
    verdict = nk.verify(folder, model=BUILD)
    assert failing(verdict)[name].startswith("lies here and is not in the manifest, and a loader would read it")
    assert "the model" in [finding.subject for finding in verdict.left_out]


# -- exported files ---------------------------------------------------------------------------------------------------


def exported(form: str, name: str, folder: Path, other: bool = False) -> Path:
    """A folder with an exported file; ``other``: of the dense model, which answers otherwise."""
    dense, small, inputs = cut(NAME)
    folder.mkdir()
    getattr(nk.export, form)(small, inputs, folder / name)
    nk.deliver(small, folder, inputs=inputs)
    if other:  # came there later, and the hashes were made to fit
        getattr(nk.export, form)(dense, inputs, folder / name)
        stamp_again(folder, *(path.name for path in nk.export.files_of(folder / name)))
    return folder


@pytest.mark.parametrize(
    ("form", "name", "packages"),
    [
        ("onnx", "model.onnx", ("onnx", "onnxscript", "onnxruntime")),
        ("openvino", "model.xml", ("openvino",)),
        ("torch_export", "model.pt2", ()),
    ],
)
def test_exported_files_are_run(form: str, name: str, packages: tuple[str, ...], tmp_path: Path) -> None:
    for package in packages:
        pytest.importorskip(package)
    verdict = nk.verify(exported(form, name, tmp_path / "same"), trust_pt2=True)
    assert verdict.holds  # without the model too: answers were compared
    assert [f.state for f in verdict.findings if f.subject == name] == ["holds"]
    found = failing(nk.verify(exported(form, name, tmp_path / "other", other=True), trust_pt2=True))
    assert "OTHERWISE" in found[name]


def test_a_program_is_not_read_untrusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = exported("torch_export", "model.pt2", tmp_path / "small")
    monkeypatch.setattr(torch.export, "load", lambda *a, **k: pytest.fail("it was read"))
    (found,) = [each for each in nk.verify(folder).left_out if each.subject == "model.pt2"]
    assert "--trust-pt2" in found.advice
    (folder / "model.pt2").write_bytes(b"x" * (folder / "model.pt2").stat().st_size)
    assert "changed" in failing(nk.verify(folder, trust_pt2=True))["model.pt2"]


def test_a_file_that_no_runtime_opens_is_told(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    _, small, inputs = cut(NAME)
    folder = nk.deliver(small, tmp_path, inputs=inputs)
    (folder / "model.onnx").write_bytes(b"no such thing")
    stamp_again(folder, "model.onnx")
    assert "it cannot be opened" in failing(nk.verify(folder))["model.onnx"]
    with pytest.raises(BrokenFile, match="cannot be run in ONNX Runtime"):
        nk.deliver(small, tmp_path, inputs=inputs)


def test_inputs_of_ones_own_are_asked_too(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    dense, small, inputs = cut(NAME)
    plan = nk.plan_of(small)
    assert plan is not None
    tmp_path.joinpath("small").mkdir()
    path = nk.export.onnx(small, inputs, tmp_path / "small" / "model.onnx")
    proven = nk.certify(dense, plan, small, inputs, exported={"onnx": path})
    folder = nk.deliver(small, tmp_path / "small", certificate=proven)  # without examples
    assert not nk.verify(folder, model=BUILD).holds
    assert nk.verify(folder, model=BUILD, inputs=inputs_of(NAME)).holds


def test_a_file_of_fixed_sizes_is_not_to_blame_for_inputs_of_others(tmp_path: Path) -> None:
    folder, inputs = exported("torch_export", "model.pt2", tmp_path / "small"), inputs_of(NAME)
    (x,) = inputs if isinstance(inputs, tuple) else (inputs,)
    verdict = nk.verify(folder, model=BUILD, inputs=torch.cat([x, x]), trust_pt2=True)
    assert verdict.holds
    found = {each.state: each for each in verdict.findings if each.subject == "model.pt2"}
    assert set(found) == {"not checked", "holds"}
    assert found["not checked"].detail.startswith("it does not take the sizes of your inputs: ")
    same = nk.verify(folder, model=BUILD, inputs=x + 1, trust_pt2=True)
    assert [each.state for each in same.findings if each.subject == "model.pt2"] == ["holds"]


def test_a_program_of_another_device_is_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = exported("torch_export", "model.pt2", tmp_path / "small")
    assert nk.export.program_devices(folder / "model.pt2") == {"cpu"}
    other = nk.export.torch_export(nn.Linear(2, 2, device="meta"), torch.ones(1, 2, device="meta"), tmp_path / "m.pt2")
    assert "meta" in nk.export.program_devices(other)
    monkeypatch.setattr(nk.export, "program_devices", lambda path: frozenset({"cpu", "cuda"}))
    (found,) = (each for each in nk.verify(folder, trust_pt2=True).findings if each.subject == "model.pt2")
    assert (found.state, found.advice) == ("not checked", "write it of model.cpu()")
    assert found.detail.startswith("it computes on cuda, where it was written")


# -- folders of transformers ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hugging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return delivered(HUGGING, tmp_path_factory.mktemp("hugging") / "small")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_folder_of_transformers_needs_no_function(hugging: Path) -> None:
    assert nk.verify(hugging).holds
    card = (hugging / "README.md").read_text()
    assert "library_name: transformers" in card
    assert 'LlamaForCausalLM.from_pretrained(".")' in card


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("architectures", ["PreTrainedTokenizerFast"], "no model of transformers"),
        ("architectures", ["os"], "no model of transformers"),
        ("architectures", ["a.b"], "must name one class"),
        ("architectures", None, "must name one class"),
        ("hidden_size", 8, "cannot be loaded"),
    ],
)
def test_a_config_that_names_something_else_is_refused(
    key: str, value: Any, said: str, hugging: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(hugging, tmp_path / "small"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    stamp_again(folder, "config.json")
    assert said in failing(nk.verify(folder))["the model"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_code_that_a_config_asks_for_is_not_fetched(hugging: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(hugging, tmp_path / "small"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoModelForCausalLM": "bad.Bad"}, "_attn_implementation": "acme/kernels"}
    (folder / "config.json").write_text(json.dumps(config | {"attn_implementation": "acme/kernels"}))
    (folder / "bad.py").write_text("raise SystemExit('run')")
    stamp_again(folder, "config.json")
    assert nk.verify(folder).holds
