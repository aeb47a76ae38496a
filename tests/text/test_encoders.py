"""Encoders: weights out of the folder, a head out of the seed, and nothing fresh that was not asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from niwaki.errors import BadInput
from niwaki.text.encoders import classifier, untrained
from tests.text import tiny

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.encoder(tmp_path_factory.mktemp("bert"))


def mpnet(place: Path) -> None:
    from transformers import MPNetConfig, MPNetModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    MPNetModel(MPNetConfig(vocab_size=40, max_position_embeddings=34, **sizes)).save_pretrained(place)


def roberta(place: Path) -> None:
    from transformers import RobertaConfig, RobertaModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = RobertaConfig(vocab_size=40, max_position_embeddings=34, **sizes)
    RobertaModel(config, add_pooling_layer=False).save_pretrained(place)


def poolerless(place: Path) -> None:
    tiny.encoder(place)
    weights = {n: t for n, t in load_file(place / "model.safetensors").items() if "pooler" not in n}
    save_file(weights, place / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("write", [tiny.encoder, mpnet, roberta, poolerless])
def test_the_folders_weights_and_a_seeded_head(write: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    capfd.readouterr()
    one, same, other = (classifier(tmp_path, 3, seed) for seed in (1, 1, 2))
    assert capfd.readouterr() == ("", "")  # neither a warning nor a bar
    stored = load_file(tmp_path / "model.safetensors")
    values = dict(one.named_parameters())
    found = [n for n in values if any(n.endswith(f".{s}") and torch.equal(values[n], stored[s]) for s in stored)]
    assert len(found) >= len(stored) - 2  # RoBERTa and MPNet have no pooler in front of this head
    assert all(map(torch.equal, one.state_dict().values(), same.state_dict().values()))
    fresh = [
        n for n in values if values[n].dim() == 2 and not torch.equal(values[n], dict(other.named_parameters())[n])
    ]
    assert fresh
    assert all({"classifier", "pooler"} & set(name.split(".")) for name in fresh)
    ids = torch.arange(4, 10)[None]
    assert one.eval()(input_ids=ids).logits.shape == (1, 3)


def test_names_of_classes_and_a_head_for_scores(folder: Path) -> None:
    assert classifier(folder, ("bad", "good")).config.id2label == {0: "bad", 1: "good"}
    for said in (1, ()):
        model = classifier(folder, said)
        assert model.config.problem_type == "regression"
        assert model.config.num_labels == 1


def test_a_head_that_is_there_is_taken(folder: Path, tmp_path: Path) -> None:
    trained = classifier(folder, 2, seed=5)
    trained.save_pretrained(tmp_path)
    again = classifier(tmp_path, 2, seed=6)
    assert all(map(torch.equal, trained.state_dict().values(), again.state_dict().values()))
    with pytest.raises(BadInput, match="do not fit a model with 3 outputs; has it a head for other classes"):
        classifier(tmp_path, 3)


NLI = ("contradiction", "entailment", "neutral")


def told(family: str, place: Path, names: tuple[str, ...] = NLI) -> nn.Module:
    """An encoder with a head for these classes, saved in a folder."""
    import transformers

    sizes: dict[str, Any] = {
        "XLNet": {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 24},
        "GPT2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "pad_token_id": 0},
    }.get(family) or {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: k for k, name in enumerate(names)}}
    config = getattr(transformers, f"{family}Config")(vocab_size=40, **sizes, **labels)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config).eval()
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(value)
    model.save_pretrained(place)
    return model


@pytest.mark.parametrize("family", ["Bert", "Roberta", "XLNet", "GPT2"])
@pytest.mark.parametrize(
    ("asked", "order"),
    [
        (NLI, [0, 1, 2]),
        (("entailment", "neutral", "contradiction"), [1, 2, 0]),
        (("NEUTRAL", "Contradiction", "entailment"), [2, 0, 1]),
        (("LABEL_0", "LABEL_1", "LABEL_2"), [0, 1, 2]),
        (3, [0, 1, 2]),
    ],
)
def test_a_head_is_taken_by_the_names_of_its_classes(family: str, asked: Any, order: list[int], tmp_path: Path) -> None:
    own = told(family, tmp_path)
    found = classifier(tmp_path, asked).eval()
    ids = torch.arange(4, 10)[None]
    assert torch.allclose(found(input_ids=ids).logits, own(input_ids=ids).logits[:, order], atol=1e-5)
    assert len(found.config.id2label) == 3


def test_a_head_of_other_words_in_another_order_is_refused_with_both(tmp_path: Path) -> None:
    told("Bert", tmp_path / "one")
    words = "The head in .*one tells contradiction, entailment, neutral, and yes, contradiction, no are asked for, in"
    with pytest.raises(BadInput, match=words):
        classifier(tmp_path / "one", ("yes", "contradiction", "no"))


@pytest.mark.parametrize(
    ("own", "asked", "logged"),
    [
        (("LABEL_0", "LABEL_1"), ("no", "yes"), False),
        (("NEGATIVE", "POSITIVE"), ("0", "1"), False),  # what a file with numbers calls its classes
        (("0", "1"), ("negative", "positive"), False),
        (("bad", "good"), ("negative", "positive"), True),
        (("unacceptable", "acceptable"), ("wrong", "acceptable"), True),
    ],
)
def test_a_head_whose_names_say_no_other_order_is_taken_as_it_is(
    own: Any, asked: Any, logged: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = told("Bert", tmp_path / "one", own)
    with caplog.at_level("WARNING", logger="niwaki"):
        after = classifier(tmp_path / "one", asked)
    assert torch.equal(after.classifier.weight, before.classifier.weight)
    assert ("its classes are taken for these" in caplog.text) is logged


def test_names_of_a_head_that_is_not_there_say_nothing(tmp_path: Path) -> None:
    from transformers import XLNetConfig, XLNetModel

    config = XLNetConfig(vocab_size=40, d_model=16, n_layer=1, n_head=2, d_inner=24, id2label=dict(enumerate(NLI)))
    XLNetModel(config).save_pretrained(tmp_path)
    one, same = (classifier(tmp_path, ("good", "bad"), seed=3) for _ in range(2))
    assert one.config.id2label == {0: "good", 1: "bad"}
    assert torch.equal(one.logits_proj.weight, same.logits_proj.weight)


def test_random_numbers_go_on_as_if_nothing_had_been_drawn(folder: Path) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    classifier(folder, 2)
    untrained(tiny.bert_config(), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_from_a_config_alone(folder: Path) -> None:
    config = tiny.bert_config()
    one, same, other = (untrained(config, 3, seed) for seed in (1, 1, 2))
    assert config.num_labels == 2  # the user's own is as it was
    assert all(map(torch.equal, one.state_dict().values(), same.state_dict().values()))
    assert not torch.equal(
        one.bert.encoder.layer[0].output.dense.weight, other.bert.encoder.layer[0].output.dense.weight
    )
    assert isinstance(untrained(str(folder), 2), nn.Module)


def test_transformers_speaks_again_afterwards(folder: Path) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    classifier(folder, 2)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_missing_layers_are_no_head(tmp_path: Path) -> None:
    tiny.encoder(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    gone = "encoder.layer.1.output.dense.weight"
    save_file({n: t for n, t in weights.items() if n != gone}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=f"lack bert.{gone}; is it whole"):
        classifier(tmp_path, 2)


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no config.json; name a local folder"):
        classifier(tmp_path, 2)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing"}))
    with pytest.raises(BadInput, match=r"config.json cannot be read"):
        classifier(tmp_path, 2)
    tiny.encoder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"holds no weights in safetensors .* Other forms can run code"):
        classifier(tmp_path, 2)
