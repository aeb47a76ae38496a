"""Perplexity against a plain sum over every token, and the windows it is taken on."""

from __future__ import annotations

import lzma
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.text.language import Perplexity, calibration, disjoint, ids, perplexity
from tests.text import tiny
from tests.vision.real import real

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return tiny.llama()


def row(count: int, seed: int = 0) -> Tensor:
    return torch.randint(4, 24, (count,), generator=torch.Generator().manual_seed(seed))


def surprise(model: nn.Module, tokens: Tensor, start: int, end: int, at: int) -> float:
    """``-ln p`` of the token at ``at``, from the window that begins at ``start``."""
    with torch.no_grad():
        logits = model(input_ids=tokens[None, start:end]).logits[0, at - start - 1]
    return -float(logits.log_softmax(0)[tokens[at]])


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(("count", "length"), [(40, 8), (43, 8), (8, 8), (9, 2)])
def test_disjoint_windows_one_token_after_the_other(model: nn.Module, count: int, length: int, size: int) -> None:
    tokens = row(count)
    each = [
        surprise(model, tokens, start, start + length, at)
        for start in range(0, count - length + 1, length)
        for at in range(start + 1, start + length)
    ]
    found = perplexity(model, tokens, length, size=size)
    assert found.tokens == len(each)
    assert found.nats == pytest.approx(sum(each), rel=1e-5)
    assert found.value == pytest.approx(math.exp(sum(each) / len(each)), rel=1e-5)


@pytest.mark.parametrize(("count", "length", "stride"), [(40, 8, 4), (41, 8, 3), (5, 8, 4), (40, 8, 1), (24, 8, 8)])
def test_sliding_windows_one_token_after_the_other(model: nn.Module, count: int, length: int, stride: int) -> None:
    tokens, each = row(count), {}
    for start in range(0, count, stride):
        for at in range(start + 1, min(start + length, count)):
            each.setdefault(at, surprise(model, tokens, start, min(start + length, count), at))
    found = perplexity(model, tokens, length, stride)
    assert found.tokens == len(each) == (count - 1 if stride < length else count - count // length)
    assert found.nats == pytest.approx(sum(each.values()), rel=1e-5)


def test_a_model_that_knows_nothing_is_as_surprised_as_can_be() -> None:
    class Even(nn.Module):
        def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
            return {"logits": torch.zeros(*input_ids.shape, 24)}

    assert perplexity(Even(), row(40), 8).value == pytest.approx(24)
    assert perplexity(Even(), row(40), 8, 4).value == pytest.approx(24)
    assert Perplexity(10_000.0, 1).value == math.inf


class Keeps(nn.Module):
    """Makes a table when it is first called, and keeps it."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.layer, self.value, self.table = nn.Embedding(24, 24), value, None

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        if self.table is None:
            self.table = torch.full((24,), self.value)
        return {"logits": self.layer(input_ids) * self.table}


def test_a_model_that_keeps_a_table_trains_afterwards() -> None:
    model = Keeps(2.0)
    perplexity(model, row(16), 8)
    model(row(16))["logits"].sum().backward()
    assert float(model.layer.weight.grad.max()) >= 2


def test_a_model_that_gives_nan_has_no_perplexity() -> None:
    with pytest.raises(BadInput, match="The model gives NaN"):
        perplexity(Keeps(float("nan")), row(16), 8)


def test_modes_are_put_back(model: nn.Module) -> None:
    model.train()
    try:
        perplexity(model, row(16), 8)
        assert model.training
    finally:
        model.eval()


def test_windows_for_calibration() -> None:
    tokens = torch.arange(100)
    found = calibration(tokens, 10, 7, seed=1, size=3)
    assert [batch["input_ids"].shape for batch in found] == [(3, 10), (3, 10), (1, 10)]
    windows = torch.cat([batch["input_ids"] for batch in found])
    assert torch.equal(windows, windows[:, :1] + torch.arange(10))
    assert len(set(windows[:, 0].tolist())) > 1
    assert all(bool(batch["attention_mask"].all()) for batch in found)
    assert torch.equal(torch.cat([b["input_ids"] for b in calibration(tokens, 10, 7, seed=1)]), windows)
    assert not torch.equal(torch.cat([b["input_ids"] for b in calibration(tokens, 10, 7, seed=2)]), windows)
    ends = torch.cat([b["input_ids"] for b in calibration(torch.arange(11), 10, 50)])[:, 0]
    assert set(ends.tolist()) == {0, 1}


def test_a_file_is_one_row_of_tokens(tmp_path: Path) -> None:
    words = tiny.tokenizer(tmp_path, model_max_length=4)
    text = "the film was good .\n\n the plot was not .\n"
    (tmp_path / "text.txt.xz").write_bytes(lzma.compress(text.encode()))
    found = ids(tmp_path / "text.txt.xz", words)
    assert found.dtype == torch.int64
    assert words.decode(found) == "[CLS] the film was good . the plot was not . [SEP]"
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(BadInput, match="is empty: there is no text in it"):
        ids(tmp_path / "empty.txt", words)


def test_wikitext_is_there_as_it_is_counted() -> None:
    from niwaki.text.files import text

    for part, count in (("valid", 213_886), ("test", 241_211)):
        assert len(text(real("text") / "lm" / f"wikitext2.{part}.txt.xz").split()) == count


def test_refused(model: nn.Module) -> None:
    for length, stride in ((1, None), (8, 0), (8, 9)):
        with pytest.raises(BadInput, match="A window has at least 2 tokens, and a stride of 1 to all of them"):
            perplexity(model, row(40), length, stride)
    with pytest.raises(BadInput, match="A window of 41 cannot be cut out of 40 tokens"):
        perplexity(model, row(40), 41)
    with pytest.raises(BadInput, match="cannot be cut"):
        disjoint(row(3), 4)
    with pytest.raises(BadInput, match=r"int64 tensor of one dimension, not torch.float32"):
        perplexity(model, row(40).float(), 8)
    with pytest.raises(BadInput, match="At least one window is due"):
        calibration(row(40), 8, 0)
