"""The certificate of exported files: what is wrong with one shows on some input, at some size, or in its bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.export import openvino_format
from niwaki.surgery.certify import Certificate
from niwaki.testing.families import family
from tests.export.formats import FORMATS, written

X = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))


def dense() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)).eval()


def cut(net: nn.Module) -> tuple[nk.Plan, nn.Module]:
    plan = nk.plan(nk.trace(net, X))
    return plan, nk.cut(net, plan)


def certified(exported: Any, **options: Any) -> Certificate:
    net = dense()
    plan, small = cut(net)
    return nk.certify(net, plan, small, X, exported=exported, **options)


def told(certificate: Certificate) -> list[tuple[str, str, str]]:
    return [(c.name, c.kind, c.detail) for c in certificate.checks if not c.holds]


def test_all_formats_are_proven_at_several_sizes_and_the_proof_is_kept(tmp_path: Path) -> None:
    small = cut(dense())[1]
    paths = {form: written(form, small, X, tmp_path, dynamic="batch") for form in FORMATS}
    found = certified(paths, dynamic="batch", also=[X[:1] * 7])
    assert found.holds
    kept = json.loads(found.save(tmp_path / "certificate.json").read_text())["checks"][2:]
    tried = ["as given", "seed 1", "batch 1, seed 2", "batch 3, seed 3", "also[0]"]
    assert [(c["name"], c["kind"]) for c in kept] == [
        (form, kind) for form in FORMATS for kind in [*["forward"] * 5, "file size"]
    ]
    for k, form in enumerate(FORMATS):
        assert [c["detail"] for c in kept[6 * k : 6 * k + 5]] == tried
        assert f"{nk.export.opened(paths[form]).file_bytes:,} bytes in all" in kept[6 * k + 5]["detail"]


def other_weights(small: nn.Module) -> nn.Module:
    """Off by a thousandth in one weight, whose input is 0 in what is given."""
    with torch.no_grad():
        small[0].weight[:, 0] += 1e-3
    return small


@pytest.mark.parametrize("form", FORMATS)
def test_wrong_weights_are_seen_also_where_the_given_input_does_not_show_them(form: str, tmp_path: Path) -> None:
    net = dense()
    given = X.clone()
    given[:, 0] = 0
    plan, small = cut(net)
    path = written(form, other_weights(nk.cut(net, plan)), X, tmp_path)
    found = nk.certify(net, plan, small, given, exported={form: path})
    assert told(found) == [(form, "forward", "seed 1")]


def fixed(path: Path) -> None:
    """OpenVINO leaves sizes open wherever its operations do: here they are not."""
    ov = pytest.importorskip("openvino")
    made = ov.Core().read_model(path)
    made.reshape(X.shape)
    again = path.with_name("fixed.xml")
    ov.save_model(made, again, compress_to_fp16=False)
    del made
    for ending in (".bin", ".xml"):
        again.with_suffix(ending).replace(path.with_suffix(ending))


@pytest.mark.parametrize("form", FORMATS)
def test_a_size_that_does_not_vary_is_seen(form: str, tmp_path: Path) -> None:
    path = written(form, cut(dense())[1], X, tmp_path)
    if form == "openvino":
        fixed(path)
    assert certified({form: path}).holds
    found = told(certified({form: path}, dynamic="batch"))
    assert [detail.partition(": ")[0] for _, _, detail in found] == ["batch 1, seed 2", "batch 3, seed 3"]
    assert all("could not be run" in detail for _, _, detail in found)


def test_half_precision_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ov = pytest.importorskip("openvino")
    small = cut(dense())[1]
    path = written("openvino", small, X, tmp_path)
    read = openvino_format.compiled(path, threads=1)
    assert read.get_property("INFERENCE_PRECISION_HINT") == ov.Type.f32
    save = ov.save_model
    monkeypatch.setattr(ov, "save_model", lambda made, to, compress_to_fp16: save(made, to, compress_to_fp16=True))
    written("openvino", small, X, tmp_path)
    assert ("openvino", "forward", "as given") in told(certified({"openvino": path}))


def test_bfloat16_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenVINO computes by itself where the processor can."""
    core = pytest.importorskip("openvino").Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor computes in float32 alone")
    path = written("openvino", cut(dense())[1], X, tmp_path)
    assert certified({"openvino": path}).holds

    def hasty(model: Path, *, threads: int) -> Any:
        return core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})

    monkeypatch.setattr(openvino_format, "compiled", hasty)
    assert {kind for _, kind, _ in told(certified({"openvino": path}))} == {"forward"}


def test_a_file_that_holds_more_than_the_model_is_seen(tmp_path: Path) -> None:
    """As if the dense weights, or those of a mask, had been left in."""

    class Masked(nn.Module):
        def __init__(self, small: nn.Module) -> None:
            super().__init__()
            self.small, self.rest = small, nn.Parameter(torch.zeros(256, 256))

        def forward(self, x: Tensor) -> Tensor:
            return self.small(x) + (x.repeat(1, 16) @ self.rest).sum(1, keepdim=True)

    for form in FORMATS:
        path = written(form, Masked(cut(dense())[1]), X, tmp_path)
        ((name, kind, detail),) = told(certified({form: path}))
        assert (name, kind) == (form, "file size")
        assert "bytes of weights where the model has" in detail


@pytest.mark.parametrize("form", FORMATS)
def test_the_file_shrinks_as_the_parameters_do(form: str, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(16, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 4)).eval()
    small = cut(net)[1]
    (big, own), (little, left) = (
        (nk.export.opened(written(form, m, X, tmp_path)).file_bytes, 4 * nk.measure.params(m)) for m in (net, small)
    )
    assert own <= big < 1.03 * own
    assert left <= little < 1.05 * left
    assert little / big == pytest.approx(left / own, rel=0.05)


def test_inputs_of_a_size_that_the_model_does_not_take_prove_nothing() -> None:
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = dense()

        def forward(self, x: Tensor) -> Tensor:
            if len(x) != 2:
                raise ValueError
            return self.layers(x)

    net = Picky()
    plan, small = cut(net)
    found = nk.certify(net, plan, small, X, exported=small, dynamic="batch")
    assert told(found) == [
        ("exported", "forward", "batch: the model itself takes none of the other sizes that were tried")
    ]


@pytest.mark.parametrize("name", ["mixtral", "mixtral_loop", "swin"])
def test_networks_that_the_exporter_alone_does_not_take(name: str, tmp_path: Path) -> None:
    """Experts, grouped or in a loop that reads values; attention in windows."""
    pytest.importorskip("transformers")
    each = family(name)
    net, inputs = each.build(), each.inputs()
    plan = nk.plan(nk.trace(net, inputs), nk.scores.L1(), nk.Ratio(0.3))
    small = nk.cut(net, plan)
    before = [getattr(small.config, f"_{key}_implementation", None) for key in ("experts", "attn")]
    path = written("onnx", small, inputs, tmp_path, dynamic=True)
    found = nk.certify(net, plan, small, inputs, exported={"onnx": path}, dynamic=True)
    assert [t for t in told(found) if t[1] == "forward"] == []
    assert [getattr(small.config, f"_{key}_implementation", None) for key in ("experts", "attn")] == before
