"""Unevenly cut models of transformers load with plain from_pretrained once niwaki is imported, and not without it."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import niwaki as nk
from niwaki.errors import BadInput, BrokenFile, StalePlan
from niwaki.graph.observe import tensors_of
from niwaki.surgery.hugging.uneven import Uneven
from niwaki.testing import laws
from niwaki.testing.families import family
from niwaki.testing.laws.folders import told

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SETTINGS: dict[str, dict[str, Any]] = {"mixtral_loop": {"experts_implementation": "eager"}}


@cache
def grown(name: str) -> tuple[nn.Module, Any, Any]:
    model, inputs = family(name).build(), family(name).inputs()
    return model, inputs, nk.trace(model, inputs, prove=False)


@cache
def uneven(name: str) -> nn.Module:
    model, _, graph = grown(name)
    return nk.cut(model, laws.uneven_plan(graph))


def logits(model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return next(t for t in tensors_of(model(**inputs), caches=False) if t.is_floating_point())


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of an uneven Llama: nobody writes into it."""
    return nk.save(uneven("llama"), tmp_path_factory.mktemp("llama"))


# All families: bench/hugging_folders.py.
@pytest.mark.parametrize(
    "name", ["albert", "gpt2", "llama", "phi3", "mixtral_loop", "whisper", "vit", "swin", "mobilenet_v1"]
)
def test_from_pretrained_gives_the_cut_model_bit_for_bit(name: str, tmp_path: Path) -> None:
    laws.folder_loads(uneven(name), grown(name)[1], tmp_path, **SETTINGS.get(name, {}))
    assert told(tmp_path / "first")
    assert told(tmp_path / "first") == told(tmp_path / "second")


def test_save_pretrained_of_the_cut_model_writes_the_same(llama: Path, tmp_path: Path) -> None:
    uneven("llama").save_pretrained(tmp_path)
    assert told(tmp_path) == told(llama)
    assert type(uneven("llama").config.quantization_config) is dict
    assert not hasattr(grown("llama")[0].config, "quantization_config")  # the dense model's own


def test_what_a_config_can_follow_stays_an_ordinary_folder(tmp_path: Path) -> None:
    model, _, graph = grown("llama")
    even = nk.cut(model, nk.plan(graph, target=nk.Ratio(0.5), groups=[g for g in graph.groups if g.kind == "neuron"]))
    nk.save(even, tmp_path)
    assert told(tmp_path) is None
    assert not hasattr(even.config, "quantization_config")


def test_two_uneven_cuts_that_are_even_together_need_no_sizes_any_more() -> None:
    model, inputs, graph = grown("bert")
    first, second = (g for g in graph.groups if g.kind == "neuron" and len(g) == 40)
    half = nk.cut(model, nk.plan(graph, target=nk.Ratio(0.5), groups=[first]))
    assert half.config.quantization_config["quant_method"] == "niwaki"
    again = nk.trace(half, inputs, prove=False)
    whole = nk.cut(half, nk.plan(again, target=nk.Ratio(0.5), groups=[second.name]))
    assert whole.config.intermediate_size == 20
    assert not hasattr(whole.config, "quantization_config")


# -- orders of import --------------------------------------------------------------------------------------------------

NIWAKI, LIBRARY = "import niwaki", "from transformers import AutoModelForCausalLM"
LOAD = """
import sys, torch
from safetensors.torch import load_file
known = load_file(sys.argv[2])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
wanted = known.pop("wanted")
print("same" if torch.equal(model(**known).logits, wanted) else "other")
"""


def run(folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    known = folder.parent / f"{folder.name}.known"
    inputs = grown("llama")[1]
    save_file({**inputs, "wanted": logits(uneven("llama"), inputs)}, str(known))
    code = "\n".join([*lines, LOAD])
    return subprocess.run(
        [sys.executable, "-c", code, str(folder), str(known)], check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "lines",
    [
        (NIWAKI, "import sys; assert not {'torch', 'transformers'} & set(sys.modules)", LIBRARY),
        (LIBRARY, NIWAKI),
        ("import transformers.modeling_utils", NIWAKI, LIBRARY),
    ],
    ids=["niwaki first", "transformers first", "transformers loaded whole first"],
)
def test_a_fresh_process_loads_it_in_either_order(lines: tuple[str, ...], llama: Path) -> None:
    done = run(llama, *lines)
    assert done.stdout == "same\n", done.stderr


def test_without_niwaki_it_fails_and_names_us(llama: Path) -> None:
    done = run(llama, LIBRARY)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "Unknown quantization type, got niwaki" in done.stderr
    assert "MISMATCH" in done.stderr
    assert "quantization_config attribute in config.json" in done.stderr  # where our note stands
    assert "import niwaki" in told(llama)["note"]


# -- what comes back is an ordinary model ------------------------------------------------------------------------------


def test_types_and_other_classes(llama: Path) -> None:
    kind, inputs = transformers.AutoModelForCausalLM, grown("llama")[1]
    rough = kind.from_pretrained(llama, dtype=torch.bfloat16)
    assert rough.dtype == torch.bfloat16
    assert rough.float().dtype == torch.float32  # what is quantized may not be cast
    assert torch.equal(rough.model.norm.weight, uneven("llama").model.norm.weight.bfloat16().float())
    base = transformers.AutoModel.from_pretrained(llama)
    with torch.no_grad():
        wanted = uneven("llama").model(**inputs).last_hidden_state
        assert torch.equal(base(**inputs).last_hidden_state, wanted)


def test_a_base_model_is_read_under_a_head(tmp_path: Path) -> None:
    base = uneven("llama").model
    nk.cut_(whole := copy.deepcopy(grown("llama")[0]), laws.uneven_plan(grown("llama")[2]))
    assert whole.model.config.quantization_config["model"] == "LlamaForCausalLM"
    base.save_pretrained(tmp_path)
    back = transformers.AutoModel.from_pretrained(tmp_path)
    assert torch.equal(back.norm.weight, base.norm.weight)


def test_disk_and_memory_maps(llama: Path) -> None:
    back = transformers.AutoModelForCausalLM.from_pretrained(llama, low_cpu_mem_usage=True, device_map="cpu")
    assert torch.equal(logits(back, grown("llama")[1]), logits(uneven("llama"), grown("llama")[1]))
    assert not any(t.is_meta for t in [*back.parameters(), *back.buffers()])


def test_other_models_are_read_as_before(tmp_path: Path) -> None:
    dense, inputs, _ = grown("gpt2")
    dense.save_pretrained(tmp_path)
    back = type(dense).from_pretrained(tmp_path)
    assert torch.equal(logits(back, inputs), logits(dense, inputs))
    assert not hasattr(back.config, "quantization_config")


def test_the_trainer_trains_it_and_its_checkpoint_loads(llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    model = transformers.AutoModelForCausalLM.from_pretrained(llama)
    before = copy.deepcopy(model.state_dict())
    ids = grown("llama")[1]["input_ids"][0]
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=1, report_to=[], use_cpu=True, disable_tqdm=True, save_strategy="no"
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=[{"input_ids": ids, "labels": ids}] * 2)
    trainer.train()
    assert all(not torch.equal(t, before[k]) for k, t in model.state_dict().items() if "proj" in k)
    trainer.save_model(str(tmp_path / "tuned"))
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "tuned")
    assert all(torch.equal(t, model.state_dict()[k]) for k, t in back.state_dict().items())


def test_the_quantizer_allows_training() -> None:
    from niwaki.surgery.hugging.quantizer import NiwakiConfig, NiwakiQuantizer

    said = Uneven("M", {"w": (1,)}).to_json()
    quantizer = NiwakiQuantizer(NiwakiConfig(**said))
    assert quantizer.is_trainable
    assert quantizer.is_qat_trainable
    assert quantizer.is_compileable
    assert quantizer.is_serializable()
    with pytest.raises(BadInput, match="cannot be given to from_pretrained for a dense model"):
        NiwakiQuantizer(NiwakiConfig(**said), pre_quantized=False).validate_environment()


def test_what_was_read_can_be_cut_again(llama: Path, tmp_path: Path) -> None:
    """Also the table of frequencies, of which entries went twice."""
    inputs = grown("llama")[1]
    back = transformers.LlamaForCausalLM.from_pretrained(llama)
    graph = nk.trace(back, inputs, prove=False)
    twice = nk.cut(back, nk.plan(graph, nk.scores.Random(1), nk.Ratio(0.4, scope="global")))
    assert twice.config.quantization_config["tensors"] != back.config.quantization_config["tensors"]
    laws.folder_loads(twice, inputs, tmp_path) if nk.plan_of(twice) else pytest.fail("no plan")


def test_frequencies_that_went_in_two_cuts_are_those_of_the_dense_model(tmp_path: Path) -> None:
    model, inputs, graph = grown("llama")
    dims = [g for g in graph.groups if g.kind == "head_dim" and any("inv_freq" in str(m) for m in g.members)]
    assert dims
    once = nk.cut(model, nk.plan(graph, nk.scores.Random(0), nk.Ratio(0.25), dims))
    once.save_pretrained(tmp_path / "once")
    back = type(model).from_pretrained(tmp_path / "once")
    assert torch.equal(back.model.rotary_emb.inv_freq, once.model.rotary_emb.inv_freq)
    again = nk.trace(back, inputs, prove=False)
    names = [g.name for g in dims]
    twice = nk.cut(back, nk.plan(again, nk.scores.Random(3), nk.Ratio(0.4), groups=names))
    assert len(twice.model.rotary_emb.inv_freq) < len(once.model.rotary_emb.inv_freq)
    laws.folder_loads(twice, inputs, tmp_path / "twice")


# -- what cannot be read, and what must not be -------------------------------------------------------------------------


def test_a_model_that_computes_by_our_code_is_refused_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = uneven("siglip")
    nk.save(small, tmp_path)
    assert "refused" in told(tmp_path)
    with pytest.raises(BadInput, match=r"vision_model\.head\.attention computes by niwaki's code\. .* nk\.load"):
        type(small).from_pretrained(tmp_path)
    back = nk.load(tmp_path, grown("siglip")[0])
    assert torch.equal(logits(back, grown("siglip")[1]), logits(small, grown("siglip")[1]))


def test_what_its_class_leaves_out_when_it_saves_is_saved(tmp_path: Path) -> None:
    """Marian computes its tables of positions anew; here they hold other values."""
    small = uneven("marian")
    assert type(small)._keys_to_ignore_on_save
    laws.folder_loads(small, grown("marian")[1], tmp_path)
    small.save_pretrained(tmp_path / "theirs")
    back = type(small).from_pretrained(tmp_path / "theirs")
    assert torch.equal(logits(back, grown("marian")[1]), logits(small, grown("marian")[1]))


def test_a_packed_model_is_refused(tmp_path: Path) -> None:
    model, inputs, _ = grown("bert")
    sparse = copy.deepcopy(model)
    with torch.no_grad():
        sparse.bert.encoder.layer[0].intermediate.dense.weight[::2] = 0
    packed = nk.pack(sparse, inputs, remove=False, forms={"*layer.0.intermediate.dense": "rows_columns"})
    packed.save_pretrained(tmp_path / "theirs")
    nk.save(packed, tmp_path / "ours")
    for folder in ("ours", "theirs"):
        with pytest.raises(BadInput, match="computes by niwaki's code"):
            type(model).from_pretrained(tmp_path / folder)
    assert torch.equal(logits(nk.load(tmp_path / "ours", model), inputs), logits(packed, inputs))


def test_an_old_transformers_is_told_at_the_cut(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers.quantizers import auto

    from niwaki.surgery.hugging import quantizer

    for registry in ("AUTO_QUANTIZER_MAPPING", "AUTO_QUANTIZATION_CONFIG_MAPPING"):
        known = {k: v for k, v in getattr(auto, registry).items() if k != "niwaki"}
        monkeypatch.setattr(auto, registry, known)
    monkeypatch.delattr(auto, "register_quantizer")
    quantizer.register()
    assert "niwaki" not in auto.AUTO_QUANTIZER_MAPPING
    nk.cut(grown("gpt2")[0], laws.uneven_plan(grown("gpt2")[2]))
    assert f"transformers {transformers.__version__} has no registry of quantizers" in caplog.text


Q, TABLE = "model.layers.0.mlp.gate_proj.weight", "model.rotary_emb.inv_freq"
Change = Callable[[dict[str, Any]], Any]
WRONG: dict[str, tuple[Change, type[Exception], str]] = {
    "version": (lambda q: q.update(version=2), BrokenFile, "version 2 is not 1; it needs another release"),
    "no version": (lambda q: q.pop("version"), BrokenFile, "version None is not 1"),
    "key": (lambda q: q.update(code="x"), BrokenFile, "it has a key 'code' that version 1 does not have"),
    "no tensors": (lambda q: q.pop("tensors"), BrokenFile, "lacks 'tensors'"),
    "empty": (lambda q: q.update(tensors={}), BrokenFile, "names no tensor that was cut"),
    "shape of text": (lambda q: q["tensors"].update({Q: "3"}), BrokenFile, "must be a list of whole numbers"),
    "zero": (lambda q: q["tensors"].update({Q: [0, 20]}), BrokenFile, "at least 1, found 0"),
    "tensor": (lambda q: q["tensors"].update(other=[1]), StalePlan, "there is no saved tensor 'other'"),
    "table": (
        lambda q: q["tensors"].update({"model.rotary_emb.inv_freq": [1]}),
        StalePlan,
        "no saved tensor 'model.rot",
    ),
    "larger": (lambda q: q["tensors"].update({Q: [99, 20]}), StalePlan, r"shape \(99, 20\), which is no part of"),
    "dimensions": (lambda q: q["tensors"].update({Q: [20]}), StalePlan, r"shape \(20,\), which is no part of"),
    "module": (
        lambda q: q["numbers"].update(nowhere={"n": 1}),
        StalePlan,
        "no module 'nowhere' to set 'n' of",
    ),
    "attribute": (
        lambda q: q["numbers"].update({"model": {"n": 1}}),
        StalePlan,
        "model.n should become 1, .* None",
    ),
    "name": (lambda q: q["numbers"].update({"model": {"__class__": 1}}), BrokenFile, "no attribute's name"),
    "grown": (
        lambda q: q["numbers"].update({"model.embed_tokens": {"embedding_dim": 99}}),
        StalePlan,
        "embedding_dim should become 99, and in the dense model it is 32",
    ),
    "no number": (lambda q: q["numbers"].update({"model": {"training": 1}}), StalePlan, "training should become 1"),
    "rows": (
        lambda q: q.update(tables=[{"tensor": Q, "dim": 0, "removed": [0]}]),
        StalePlan,
        "that is computed and not saved",
    ),
    "indices": (
        lambda q: q.update(tables=[{"tensor": TABLE, "dim": 0, "removed": [99]}]),
        StalePlan,
        "should lose 1 entries up to number 99",
    ),
    "order": (lambda q: q.update(tables=[{"tensor": Q, "dim": 0, "removed": [2, 1]}]), BrokenFile, "ascend without"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_refused_before_anything_is_loaded(what: str, llama: Path, tmp_path: Path) -> None:
    change, error, text = WRONG[what]
    config = json.loads((llama / "config.json").read_text())
    change(config["quantization_config"])
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(load_file(llama / "model.safetensors"), tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(error, match=text):
        transformers.LlamaForCausalLM.from_pretrained(tmp_path)


def test_a_shape_that_is_not_the_files_is_refused(llama: Path, tmp_path: Path) -> None:
    config = json.loads((llama / "config.json").read_text())
    shape = config["quantization_config"]["tensors"][Q]
    config["quantization_config"]["tensors"][Q] = [shape[0] - 1, shape[1]]
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(load_file(llama / "model.safetensors"), tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RuntimeError, match=r"(?i)mismatch"):
        transformers.LlamaForCausalLM.from_pretrained(tmp_path)
