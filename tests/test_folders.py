"""A folder of Hugging Face's is cut from disk to disk, and stock code reads what comes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import niwaki as nk
from niwaki.cli import main
from niwaki.errors import BadInput
from niwaki.testing.families import family


def dense(folder: Path, name: str = "llama") -> Path:
    family(name).build().save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "training.bin").write_bytes(b"not to be copied")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text("{{ messages }}")
    return folder


def test_what_is_cut_on_disk_is_what_is_cut_in_memory(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    source = dense(tmp_path / "dense")
    told: list[str] = []
    plan = nk.cut_folder(source, tmp_path / "small", nk.Ratio(0.5), shard_bytes=10_000, tick=told.append)
    model = AutoModelForCausalLM.from_pretrained(source).eval()
    graph = nk.trace(model, model.dummy_inputs)
    here = nk.plan(graph, nk.scores.L1(), nk.Ratio(0.5), [g for g in graph.groups if g.kind != "head_dim"])
    assert plan == here == nk.Plan.load(tmp_path / "small" / "plan.json")
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "small").eval()
    x = {"input_ids": torch.arange(1, 12)[None]}
    with torch.no_grad():
        assert torch.equal(read(**x).logits, nk.cut(model, plan)(**x).logits)
    assert len(told) == len(nk.Checkpoint(tmp_path / "small"))
    names = {file.name for file in (tmp_path / "small").iterdir()}
    assert {"tokenizer.json", "config.json", "plan.json", "model.safetensors.index.json"} <= names
    assert "training.bin" not in names
    assert (tmp_path / "small" / "additional_chat_templates" / "tools.jinja").read_text() == "{{ messages }}"


def test_how_it_generates_stays_and_papers_of_the_dense_model_do_not_come_along(tmp_path: Path) -> None:
    source = dense(tmp_path / "dense")
    told = {"eos_token_id": [1, 5], "do_sample": True, "temperature": 0.6, "max_new_tokens": 77}
    (source / "generation_config.json").write_text(json.dumps(told))
    for name in ("manifest.json", "certificate.json", "examples.json", "source.spm"):
        (source / name).write_text("{}")
    nk.cut_folder(source, tmp_path / "small", nk.Ratio(0.5))
    found = json.loads((tmp_path / "small" / "generation_config.json").read_text())
    assert {key: found.get(key) for key in told} == told
    names = {file.name for file in (tmp_path / "small").iterdir()}
    assert "source.spm" in names
    assert not names & {"manifest.json", "certificate.json", "examples.json"}


def test_the_command_tells_what_went(tmp_path: Path) -> None:
    source = dense(tmp_path / "dense")
    words = ["cut", str(source), str(tmp_path / "small"), "--target", "{ratio: 0.5, only: '*mlp*'}"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "2 × neuron: 40 → 20" in done.output
    sizes = [sum(p.stat().st_size for p in folder.glob("*.safetensors")) for folder in (source, tmp_path / "small")]
    assert f"bytes: {sizes[0]:,} → {sizes[1]:,}" in done.output
    assert json.loads((tmp_path / "small" / "config.json").read_text())["intermediate_size"] == 20


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (None, "has no config.json"),
        ({"model_type": "llama"}, "names no class"),
        ({"model_type": "llama", "architectures": ["os"]}, r"names \['os'\], and transformers has no such model"),
        ({"model_type": "llama", "architectures": ["LlamaConfig"]}, "transformers has no such model"),
    ],
)
def test_folders_that_tell_of_no_model_are_refused(config: object, text: str, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match=text):
        nk.cut_folder(tmp_path, tmp_path / "small", nk.Ratio(0.5))


def test_weights_of_another_class_are_named(tmp_path: Path) -> None:
    source = dense(tmp_path / "dense")
    (source / "config.json").write_text(json.dumps({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}))
    with pytest.raises(BadInput, match=r"'lm_head.weight' is stored with shape \(37, 32\)"):
        nk.cut_folder(source, tmp_path / "small", nk.Ratio(0.5))


def test_words_that_cannot_be_meant(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["cut", str(dense(tmp_path / "dense")), str(tmp_path / "x"), "--target", "parms: 1"]
    )
    assert done.exit_code == 2
    assert "did you mean 'params'" in done.output


def of_pictures(folder: Path, **more: int) -> Path:
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = {"num_channels": 1, "embedding_size": 4, "hidden_sizes": [4], "depths": [1], "layer_type": "basic"}
    ResNetForImageClassification(ResNetConfig(**sizes, **more)).save_pretrained(folder)
    return folder


def test_a_model_of_pictures_is_called_with_one(tmp_path: Path) -> None:
    plan = nk.cut_folder(of_pictures(tmp_path / "dense", image_size=16), tmp_path / "small", nk.Ratio(0.5))
    assert plan.removed


def test_what_was_made_up_is_not_the_users_fault(tmp_path: Path) -> None:
    dense = of_pictures(tmp_path / "dense")
    with pytest.raises(BadInput, match=r"ResNet\w+ cannot be called with what was made up for it .*: give inputs"):
        nk.cut_folder(dense, tmp_path / "small", nk.Ratio(0.5))
    nk.cut_folder(dense, tmp_path / "small", nk.Ratio(0.5), inputs=torch.ones(1, 1, 16, 16))
