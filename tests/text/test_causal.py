"""A causal model from a folder, windows to train it on, and the loss of the next token."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from niwaki.errors import BadInput
from niwaki.text.batches import Batches
from niwaki.text.causal import causal, loss, windows
from niwaki.text.finetuning import Finetuning, Settings
from niwaki.text.language import perplexity
from tests.text import tiny

pytest.importorskip("transformers")


def row(tokens: int) -> torch.Tensor:
    return torch.randint(4, 20, (tokens,), generator=torch.Generator().manual_seed(0))


def test_windows_are_the_row_in_its_order() -> None:
    ids = row(50)
    found = windows(ids, 16)
    assert len(found) == 3
    batch = found.batch(torch.tensor([2, 0]))
    assert batch["input_ids"].tolist() == [ids[32:48].tolist(), ids[:16].tolist()]
    assert bool(batch["attention_mask"].all())
    with pytest.raises(BadInput, match="at least 2 tokens"):
        windows(ids, 1)
    with pytest.raises(BadInput, match="cannot be cut out of 50"):
        windows(ids, 51)


def test_the_loss_is_the_logarithm_of_the_perplexity() -> None:
    model, ids = tiny.llama(), row(64)
    (batch,) = Batches(windows(ids, 16), 4)
    assert loss(model, batch, False).item() == pytest.approx(math.log(perplexity(model, ids, 16).value), rel=1e-5)


def test_training_on_windows_lowers_it() -> None:
    model, ids = tiny.llama(), row(256)
    before = perplexity(model, ids, 16).value
    Finetuning(model, windows(ids, 16), Settings(epochs=5, lr=1e-2, size=4, bf16=False), loss=loss).run()
    assert perplexity(model, ids, 16).value < 0.8 * before


def test_a_model_comes_from_its_folder(tmp_path: Path) -> None:
    model = tiny.llama()
    model.save_pretrained(tmp_path)
    ids = row(16)[None]
    torch.testing.assert_close(causal(tmp_path)(input_ids=ids).logits, model(input_ids=ids).logits)
    with pytest.raises(BadInput, match=r"has no config\.json"):
        causal(tmp_path / "other")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="holds no causal language model in safetensors"):
        causal(tmp_path)


def test_missing_weights_are_told(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tiny.llama().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=r"lack model\.layers\.1\.mlp\.up_proj\.weight"):
        causal(tmp_path)
