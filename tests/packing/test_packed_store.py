"""Packed models come back from disk bit for bit, into the dense class; and no folder that lies gets in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import niwaki as nk
from niwaki.errors import BrokenFile, StalePlan
from niwaki.packing import FORMS, PackedLinear, Packing
from niwaki.surgery.cut import plan_of
from tests.packing.models import made, masked
from tests.packing.test_pack import far

WEIGHTS = "model.safetensors"


def same(left: nn.Module, right: nn.Module) -> bool:
    a, b = left.state_dict(), right.state_dict()
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def packed(name: str = "tied", form: str = "core_sparse") -> nn.Module:
    model, inputs, _ = masked(name, "patterned")
    return nk.pack(model, inputs, forms=form, remove=False)


@pytest.mark.parametrize("form", FORMS[1:])
def test_it_comes_back_bit_for_bit(form: str, tmp_path: Path) -> None:
    model, inputs, others = masked("tied", "patterned")
    small = nk.pack(model, inputs, forms=form)
    nk.save(small, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [WEIGHTS, "packing.json", "plan.json"]
    dense = made("tied", seed=5)[0]
    before = {k: v.clone() for k, v in dense.state_dict().items()}
    back = nk.load(tmp_path, dense)
    assert same(back, small)
    assert nk.packing_of(back) == nk.packing_of(small)
    assert plan_of(back).removed == plan_of(small).removed
    assert far(model, back, others) < 1e-5
    assert all(torch.equal(v, before[k]) for k, v in dense.state_dict().items())
    assert nk.certify_packed(model, small, inputs, reloaded=back).holds


def test_shared_layers_are_shared_again_and_written_once(tmp_path: Path) -> None:
    nk.save(packed(), tmp_path)
    assert "again.core" not in load_file(tmp_path / WEIGHTS)
    back = nk.load(tmp_path, lambda: made("tied")[0])
    assert back.inn.core is back.again.core
    assert back.inn.indices is back.again.indices


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_hugging_face_models_load_from_the_config_beside_the_weights(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    small = packed(name)
    nk.save(small, tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    back = nk.load(tmp_path, lambda: type(small)(config).eval())
    assert same(back, small)
    assert far(small, back, masked(name, "patterned")[2]) == 0


def test_a_model_that_was_cut_before_is_one_plan_from_the_dense(tmp_path: Path) -> None:
    model, inputs, others = made("mlp")
    cut = nk.cut(model, nk.plan(nk.trace(model, inputs), target=nk.Ratio(0.25)))
    with torch.no_grad():
        cut[2].weight[:, :3] = 0
        cut[2].weight[:4] = 0
    small = nk.pack(cut, inputs, forms="rows")
    assert nk.packing_of(small).removed
    nk.save(small, tmp_path)
    back = nk.load(tmp_path, model)
    assert same(back, small)
    assert far(cut, back, others) < 1e-5
    assert nk.certify_packed(cut, small, inputs, reloaded=back).holds


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_precision_is_kept(dtype: torch.dtype, tmp_path: Path) -> None:
    small = packed().to(dtype)
    nk.save(small, tmp_path)
    assert same(nk.load(tmp_path, made("tied")[0]), small)


def test_a_packed_model_of_which_nothing_was_packed_is_saved_as_well(tmp_path: Path) -> None:
    model, inputs, _ = made("mlp")
    nk.save(nk.pack(model, inputs), tmp_path)
    assert same(nk.load(tmp_path, made("mlp", seed=3)[0]), model)


def test_an_old_packing_does_not_outlive_its_weights(tmp_path: Path) -> None:
    nk.save(packed("mlp"), tmp_path)
    model, inputs, _ = made("mlp")
    cut = nk.cut(model, nk.plan(nk.trace(model, inputs)))
    nk.save(cut, tmp_path)
    assert not (tmp_path / "packing.json").exists()
    assert same(nk.load(tmp_path, model), cut)


# -- folders that lie --------------------------------------------------------------------------------------------------


def change(*path: Any, to: Any) -> Callable[[Any], None]:
    def act(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return act


def twice(data: Any) -> None:
    data["layers"].append(data["layers"][0])


LIES: dict[str, tuple[Callable[[Any], None], str]] = {
    "another format": (change("format", to="niwaki.plan"), "expected an object with format 'niwaki.packing'"),
    "another version": (change("version", to=9), "version 9 is not 1"),
    "no layers": (change("layers", to=None), "not a usable packing"),
    "a layer twice": (twice, "a layer appears twice"),
    "a form that is none": (change("layers", 0, "form", to="eval"), "of form 'eval'; forms are dense"),
    "a layer that is not there": (
        change("layers", 0, "name", to="../x"),
        r"'\.\./x' should be a linear layer",
    ),
    "a module that is no layer": (change("layers", 0, "name", to=""), "'' should be a linear layer, found Sequential"),
    "another matrix": (change("layers", 0, "sizes", "inputs", to=99), r"a matrix of \(\d+, 99\), found"),
    "a huge matrix": (change("layers", 0, "sizes", "values", to=10**15), "has 1000000000000000 entries of its own"),
    "fewer than none": (change("layers", 0, "sizes", "rows", to=-1), "found -1"),
    "more rows": (change("layers", 0, "sizes", "rows", to=1), r"'0\.core' has shape"),
    "turned round": (change("layers", 0, "sizes", "transposed", to=True), "should have a matrix of"),
    "a size too many": (change("layers", 0, "sizes", "depth", to=1), "sizes of a layer are an object with"),
    "a layer less": (change("layers", 0, "form", to="dense"), r"it lacks '0\.weight'"),
    "a removal of nothing": (change("removed", to=[{"what": 1}]), "not a usable packing"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_packing_that_lies_is_refused(name: str, tmp_path: Path) -> None:
    spoil, text = LIES[name]
    nk.save(packed("mlp"), tmp_path)
    data = json.loads((tmp_path / "packing.json").read_text())
    spoil(data)
    (tmp_path / "packing.json").write_text(json.dumps(data))
    dense = made("mlp")[0]
    with pytest.raises(BrokenFile, match=text):
        nk.load(tmp_path, dense)
    assert not any(isinstance(m, PackedLinear) for m in dense.modules())


@pytest.mark.parametrize(
    ("tensor", "index", "value", "text"),
    [
        ("indices", 0, 10**6, "holds no packed layer '0': 'indices' must be from 0"),
        ("starts", 3, -1, "'starts' must ascend"),
        ("columns", 0, -1, "'columns' must ascend"),
        ("places", 0, 10**6, "'places' must give each"),
    ],
)
def test_an_index_that_points_nowhere_is_refused(
    tensor: str, index: int, value: int, text: str, tmp_path: Path
) -> None:
    nk.save(packed("mlp"), tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    tensors[f"0.{tensor}"][index] = value
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(BrokenFile, match=text):
        nk.load(tmp_path, made("mlp")[0])


def test_the_same_folder_is_read_where_nothing_lies(tmp_path: Path) -> None:
    small = packed("mlp")
    nk.save(small, tmp_path)
    (tmp_path / "packing.json").write_text(json.dumps(json.loads((tmp_path / "packing.json").read_text())))
    save_file(load_file(tmp_path / WEIGHTS), tmp_path / WEIGHTS)
    assert same(nk.load(tmp_path, made("mlp")[0]), small)


def test_truncated_and_missing_files_are_told(tmp_path: Path) -> None:
    nk.save(packed("mlp"), tmp_path)
    whole = (tmp_path / "packing.json").read_text()
    (tmp_path / "packing.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(BrokenFile, match=r"packing\.json is not readable JSON \(truncated\?\)"):
        nk.load(tmp_path, made("mlp")[0])
    (tmp_path / "packing.json").unlink()
    with pytest.raises(BrokenFile, match="does not fit the plan beside it"):
        nk.load(tmp_path, made("mlp")[0])
    with pytest.raises(BrokenFile, match="no packing at"):
        Packing.load(tmp_path / "packing.json")


def test_another_dense_model_is_refused(tmp_path: Path) -> None:
    nk.save(packed("mlp"), tmp_path)
    with pytest.raises(StalePlan, match="the plan is of another model"):
        nk.load(tmp_path, made("tied")[0])


def test_the_record_survives_json() -> None:
    packing = nk.packing_of(packed())
    assert Packing.from_json(json.loads(json.dumps(packing.to_json()))) == packing
    with pytest.raises(KeyError, match="no linear layer is called 'x'; there are inn, again"):
        packing["x"]
