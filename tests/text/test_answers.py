"""What a model answers: losses by hand, rows in their order, measures over a whole part."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from niwaki.errors import BadInput
from niwaki.text import answers
from niwaki.text.batches import Tokens, tokenised
from niwaki.text.encoders import untrained
from niwaki.text.tables import Table
from tests.text import tiny

pytest.importorskip("transformers")


class Sums(nn.Module):
    """Logits 0 and the sum of the token numbers, so that an answer tells which row was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **rest: object) -> dict[str, torch.Tensor]:
        assert "labels" not in rest
        total = (input_ids * attention_mask).sum(1) * self.scale
        return {"logits": torch.stack([torch.zeros_like(total), total], dim=1)}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    words = tiny.tokenizer(tmp_path_factory.mktemp("words"))
    texts, labels = zip(*tiny.reviews(23), strict=True)
    return tokenised(Table(texts, None, labels, ("bad", "good")), words)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_answers_stand_in_the_order_of_the_rows(tokens: Tokens, size: int) -> None:
    sums = [float(tokens.flat["input_ids"][a:b].sum()) for a, b in zip(tokens.starts, tokens.starts[1:], strict=False)]
    assert answers.outputs(Sums(), tokens, size)[:, 1].tolist() == sums


def test_losses_by_hand() -> None:
    class Told(nn.Module):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return input_ids.float()

    batch = {"input_ids": torch.tensor([[0, 0], [0, 0]]), "labels": torch.tensor([0, 1])}
    assert answers.loss(Told(), batch).item() == pytest.approx(0.693147)  # ln 2
    batch = {"input_ids": torch.tensor([[1], [5]]), "labels": torch.tensor([2.0, 2.0])}
    assert answers.loss(Told(), batch).item() == pytest.approx((1 + 9) / 2)


def test_bfloat16_is_taken_where_it_pays(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained(tiny.bert_config(), 2).eval()
    batch = tokens.batch(torch.arange(4))
    exact = model(**{k: v for k, v in batch.items() if k != "labels"}).logits
    for pays, said, same in ((True, None, False), (False, None, True), (False, True, False), (True, False, True)):
        monkeypatch.setattr(answers, "bf16_pays", lambda kind, pays=pays: pays)
        found = answers.logits(model, batch, said)
        assert found.dtype == torch.float32
        assert torch.equal(found, exact) is same
        assert torch.allclose(found, exact, atol=0.02)


def test_a_part_is_measured_in_evaluation_mode(tokens: Tokens) -> None:
    model = untrained(tiny.bert_config(hidden_dropout_prob=0.5), 2).train()
    model.bert.embeddings.eval()
    one, again = (answers.measured(model, tokens, ["accuracy", "f1"], size) for size in (5, 23))
    assert one == again
    assert model.training
    assert not model.bert.embeddings.training
    right = answers.outputs(model, tokens).argmax(1) == tokens.labels
    assert one["accuracy"] == pytest.approx(float(right.float().mean()))


class Keeps(Sums):
    """Makes a table when it is first called, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.table: torch.Tensor | None = None

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **rest: object) -> dict[str, torch.Tensor]:
        if self.table is None:
            self.table = torch.linspace(0, 1, 2)
        return {"logits": super().forward(input_ids, attention_mask)["logits"] * self.scale * self.table}


def test_a_model_that_keeps_a_table_trains_afterwards(tokens: Tokens) -> None:
    model = Keeps()
    answers.outputs(model, tokens)
    answers.loss(model, tokens.batch(torch.arange(3))).backward()
    assert model.scale.grad is not None


def test_refused(tokens: Tokens) -> None:
    with pytest.raises(BadInput, match="23 rows cannot be asked in batches of 0"):
        answers.outputs(Sums(), tokens, 0)
