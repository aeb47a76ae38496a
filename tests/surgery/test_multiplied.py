"""Which parameters of a model are weights, and which only look like matrices."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import niwaki as nk
from niwaki.surgery.multiplied import Inputs, inputs_of
from niwaki.surgery.singles import single_weights


class RootNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 4))


class Own(nn.Module):
    """Parameters of its own, of which four are multiplied."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {
            "layer_scale": (4, 1, 1),
            "class_token": (1, 1, 4),
            "pos_embedding": (1, 5, 4),
            "grid": (1, 3, 4),
            "relative_position_bias_table": (9, 2),
            "rel_pos_h": (7, 4),
            "cls_tokens": (2, 4),
            "position_embeddings": (5, 4),
            "gate_up_proj_bias": (3, 8),
            "first": (4, 3),
            "gate_up_proj": (3, 4, 8),
            "decomposition": (4, 3),
        }
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.ones(shape)))
        self.norms = nn.ModuleList([nn.LayerNorm((3, 4)), RootNorm()])
        self.words = nn.Embedding(6, 4)
        self.mixed = nn.ParameterList([torch.ones(2, 2), torch.ones(2)])


def test_what_is_added_scaled_or_looked_up_is_no_weight() -> None:
    assert list(single_weights(Own())) == ["first", "gate_up_proj", "decomposition", "mixed.0"]


def test_the_weights_of_layers_count_whatever_their_shape() -> None:
    model = nn.ModuleDict(
        {
            "one_output": nn.Linear(4, 1),
            "one_input": nn.LSTM(1, 3),
            "pairs": nn.Bilinear(2, 3, 4),
            "depthwise": nn.Conv2d(4, 4, 3, groups=4),
            "up": nn.ConvTranspose2d(4, 2, 3),
            "attention": nn.MultiheadAttention(4, 2, add_bias_kv=True),
            "other_keys": nn.MultiheadAttention(4, 2, kdim=3, vdim=5),
            "normed": nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)),
        }
    )
    weights = single_weights(model)
    assert list(weights) == [
        "one_output.weight",
        "one_input.weight_ih_l0",
        "one_input.weight_hh_l0",
        "pairs.weight",
        "depthwise.weight",
        "up.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "other_keys.q_proj_weight",
        "other_keys.k_proj_weight",
        "other_keys.v_proj_weight",
        "other_keys.out_proj.weight",
        "normed.parametrizations.weight.original0",
        "normed.parametrizations.weight.original1",
    ]
    assert inputs_of(weights, "up.weight") == Inputs(0)
    assert inputs_of(weights, "pairs.weight") == inputs_of(dict(weights), "up.weight") == Inputs(1)


def test_what_shares_its_tensor_with_an_embedding_is_none() -> None:
    model = nn.ModuleDict({"words": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False), "free": nn.Linear(4, 4)})
    model["head"].weight = model["words"].weight
    assert list(single_weights(model)) == ["free.weight"]


def test_networks_of_transformers_keep_their_scales_tokens_and_tables() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"image_size": 8, "patch_size": 4}
    vit = transformers.ViTModel(
        transformers.ViTConfig(
            **sizes, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12
        ),
        add_pooling_layer=False,
    )
    left_out = {"embeddings.cls_token", "embeddings.position_embeddings"}
    assert _matrices(vit) - set(single_weights(vit)) == left_out
    swin = transformers.SwinModel(
        transformers.SwinConfig(**sizes, embed_dim=8, depths=[1], num_heads=[2], window_size=2)
    )
    (table,) = _matrices(swin) - set(single_weights(swin))
    assert table.endswith("relative_position_bias_table")


def test_experts_in_one_tensor_count() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.MixtralConfig(
        vocab_size=20, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=3,
    )  # fmt: skip
    model = transformers.MixtralForCausalLM(config)
    weights = single_weights(model)
    assert sum(w.numel() for name, w in weights.items() if "experts" in name) == 3 * 3 * 8 * 12
    assert _matrices(model) - set(weights) == {"model.embed_tokens.weight"}


def test_what_is_no_weight_stays_as_it_is() -> None:
    """In one call, by the method's own words."""
    model = Own()
    model.forward = lambda x: x @ model.first @ torch.ones(3, 4)  # type: ignore[method-assign]
    sparse = nk.prune(model, torch.ones(2, 4), nk.methods.magnitude(nk.Ratio(0.5), of="weights"))
    before = dict(model.named_parameters())
    changed = [name for name, p in sparse.named_parameters() if not torch.equal(p, before[name])]
    assert changed == ["first", "gate_up_proj", "decomposition", "mixed.0"]


def _matrices(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.dim() > 1}
