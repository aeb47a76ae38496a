"""Batches: every row once an epoch, padded as the tokenizer would, in an order of the seed, resumed at any batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from niwaki.errors import BadInput
from niwaki.text.answers import logits
from niwaki.text.batches import Batches, Tokens, by_length, tokenised, tokenizer
from niwaki.text.encoders import untrained
from niwaki.text.tables import Table
from tests.text import tiny

pytest.importorskip("transformers")


def table(count: int, pairs: bool = False) -> Table:
    texts, labels = zip(*tiny.reviews(count), strict=True)
    others = tuple(text for text, _ in tiny.reviews(count, seed=5)) if pairs else None
    return Table(texts, others, labels, ("bad", "good"))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("words")
    tiny.tokenizer(folder)
    return tokenizer(folder)


@pytest.fixture(scope="module")
def tokens(words: object) -> Tokens:
    return tokenised(table(70), words)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("pairs", [False, True])
def test_a_batch_is_what_the_tokenizer_itself_would_pad(
    words: object, pairs: bool, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "padding_side", side)
    rows = table(9, pairs)
    second = () if rows.pairs is None else (list(rows.pairs),)
    expected = words(list(rows.texts), *second, truncation=True, max_length=10, padding=True, return_tensors="pt")  # type: ignore[operator]
    found = tokenised(rows, words, max_length=10).batch(torch.arange(9))
    assert set(found) == {*expected, "labels"}
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == torch.int64
    assert found["labels"].tolist() == list(rows.labels)
    assert found["input_ids"].shape[1] <= 10
    assert bool((found["token_type_ids"] == 1).any()) == pairs


def test_rows_are_taken_in_the_order_asked_for(tokens: Tokens) -> None:
    chosen = torch.tensor([5, 2, 69, 2])
    batch = tokens.batch(chosen)
    for k, row in enumerate(chosen.tolist()):
        one = tokens.batch(torch.tensor([row]))
        length = one["input_ids"].shape[1]
        assert torch.equal(batch["input_ids"][k, :length], one["input_ids"][0])
        assert not batch["input_ids"][k, length:].any()
        assert batch["attention_mask"][k].tolist() == [1] * length + [0] * (batch["input_ids"].shape[1] - length)


def test_the_answer_does_not_depend_on_the_other_rows_where_the_left_is_padded(
    words: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import XLNetConfig

    monkeypatch.setattr(words, "padding_side", "left")
    config = XLNetConfig(vocab_size=40, d_model=16, n_layer=1, n_head=2, d_inner=24, pad_token_id=0)
    model, rows = untrained(config, 2).eval(), tokenised(table(6), words)
    assert len(set(rows.lengths.tolist())) > 1
    together = logits(model, rows.to("cpu").rows(5).batch(torch.arange(5)), False)
    alone = torch.cat([logits(model, rows.batch(torch.tensor([k])), False) for k in range(5)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_row_is_no_longer_than_its_encoder_takes(tmp_path: Path) -> None:
    short = tiny.tokenizer(tmp_path, model_max_length=5)
    assert int(tokenised(table(20), short).lengths.max()) == 5
    assert int(tokenised(table(20), short, max_length=4).lengths.max()) == 4


def test_a_row_of_no_tokens_is_told(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({"[PAD]": 0, "good": 1}, unk_token="[PAD]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    bare = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]")
    with pytest.raises(BadInput, match="Row 2 of the table has no tokens: ' '"):
        tokenised(Table(("good", " "), None, (0, 1), ("bad", "good")), bare)


def seen(batches: Batches) -> list[list[tuple[int, ...]]]:
    return [[tuple(row.tolist()) for row in batch["input_ids"]] for batch in batches]


@pytest.mark.parametrize("size", [1, 8, 32, 70, 200])
def test_every_row_once_an_epoch(tokens: Tokens, size: int) -> None:
    batches = Batches(tokens, size)
    found = list(batches)
    assert len(found) == len(batches) == -(-70 // size)
    lengths = sorted(int(n) for batch in found for n in batch["attention_mask"].sum(1))
    assert lengths == sorted(tokens.lengths.tolist())
    assert sum(int(batch["labels"].sum()) for batch in found) == 35


def test_batches_hold_rows_of_like_length(tokens: Tokens) -> None:
    padded = sum(int((batch["attention_mask"] == 0).sum()) for batch in Batches(tokens, 8))
    order = torch.randperm(70, generator=torch.Generator().manual_seed(0))
    at_random = sum(int((tokens.batch(rows)["attention_mask"] == 0).sum()) for rows in order.split(8))
    assert padded < at_random / 3


def test_the_order_is_the_seeds_and_the_epochs(tokens: Tokens) -> None:
    batches, same, other = Batches(tokens, 8, 3), Batches(tokens, 8, 3), Batches(tokens, 8, 4)
    first = seen(batches)
    assert batches.epoch == 1
    assert seen(same) == first
    assert seen(other) != first
    second = seen(batches)
    assert second != first
    assert second == seen(Batches(tokens, 8, 4))  # seed + epoch alone
    batches.epoch = 0
    assert seen(batches) == first


@pytest.mark.parametrize("skip", [0, 1, 5, 9])
def test_an_epoch_is_resumed_at_any_batch(tokens: Tokens, skip: int) -> None:
    whole = Batches(tokens, 8)
    epochs = [seen(whole) for _ in range(3)]
    resumed = Batches(tokens, 8)
    resumed.epoch, resumed.skip = 1, skip
    assert seen(resumed) == epochs[1][skip:]
    assert seen(resumed) == epochs[2]


def test_the_global_generator_is_left_alone(tokens: Tokens) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(Batches(tokens, 8))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_longest_first(tokens: Tokens) -> None:
    parts = by_length(tokens, 16)
    assert sorted(torch.cat(list(parts)).tolist()) == list(range(70))
    lengths = tokens.lengths[torch.cat(list(parts))].tolist()
    assert lengths == sorted(lengths, reverse=True)


def test_the_first_rows(tokens: Tokens) -> None:
    few = tokens.rows(3)
    assert len(few) == 3
    assert all(torch.equal(v, tokens.batch(torch.arange(3))[k]) for k, v in few.batch(torch.arange(3)).items())
    assert len(tokens.rows(1000)) == 70


def test_scores_are_floats(words: object) -> None:
    found = tokenised(Table(("good", "bad film"), None, (4.5, 1.0), ()), words)
    assert found.labels.dtype == torch.float32
    assert found.batch(torch.arange(2))["labels"].tolist() == [4.5, 1.0]


def test_refused(words: object, tokens: Tokens, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="A batch of 0 cannot be drawn from 70 rows"):
        Batches(tokens, 0)
    with pytest.raises(BadInput, match="no rows to tokenise"):
        tokenised(Table((), None, (), ("a", "b")), words)
    with pytest.raises(BadInput, match=r"There is no folder .*nowhere; name one"):
        tokenizer(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="holds no tokenizer that can be read"):
        tokenizer(tmp_path)
    padless = tiny.tokenizer(tmp_path, pad_token=None)
    with pytest.raises(BadInput, match=r"no token to pad with; give it one: tokenizer.pad_token = "):
        tokenised(table(2), padless)
