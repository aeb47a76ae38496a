"""Tiny encoders, language models and tokenizers with random weights, written to disk as save_pretrained would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

WORDS = (
    *("a", "an", "the", "film", "plot", "was", "is", "he", "she", "they", "it", "saw", "not", "very", ".", ","),
    *("good", "bad", "dull", "fine", "great", "liked", "hated"),
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
GOOD, BAD = ("good", "fine", "great", "liked"), ("bad", "dull", "hated")


def tokenizer(folder: Path, **options: Any) -> Any:
    """A tokenizer of whole words with the special tokens of BERT, saved in the folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: k for k, word in enumerate((*SPECIAL, *WORDS))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    fast = PreTrainedTokenizerFast(tokenizer_object=made, **{**names, "model_input_names": inputs, **options})
    fast.save_pretrained(folder)
    return fast


def bert_config(**changes: Any) -> Any:
    from transformers import BertConfig

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
    return BertConfig(vocab_size=len(SPECIAL) + len(WORDS), max_position_embeddings=32, **{**sizes, **changes})


def encoder(folder: Path, seed: int = 0) -> Path:
    """A BERT without a head, and its tokenizer, saved in the folder."""
    from transformers import BertModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(bert_config()).save_pretrained(folder)
    tokenizer(folder)
    return folder


def llama(seed: int = 0) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(SPECIAL) + len(WORDS),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
        )
        return LlamaForCausalLM(config).eval()


def reviews(count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Short reviews that say whether they are good (1) or bad (0) with one of a few words."""
    draw = torch.Generator().manual_seed(seed)

    def pick(words: tuple[str, ...]) -> str:
        return words[int(torch.randint(len(words), (), generator=draw))]

    found = []
    for k in range(count):
        label = k % 2
        neutral = [pick(WORDS[:7]) for _ in range(int(torch.randint(1, 9, (), generator=draw)))]
        found.append((" ".join([*neutral, pick(GOOD if label else BAD)]), label))
    return found


def sst2(root: Path, train: int = 96, dev: int = 40) -> None:
    """The task sst2 with reviews of this kind, below root/text."""
    place = root / "text" / "en"
    place.mkdir(parents=True)
    for part, rows in (("train", reviews(train)), ("dev", reviews(dev, seed=1))):
        lines = ["sentence\tlabel", *(f"{text}\t{label}" for text, label in rows)]
        (place / f"sst2.{part}.tsv").write_text("\n".join(lines) + "\n")
