"""Small models and masks on which packing is tried: a table of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Made = tuple[nn.Module, Any, Any]
"""A model in eval mode, inputs, and other inputs of another batch size."""


class Tied(nn.Module):
    """Two modules with one weight and a bias each, and one module that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inn, self.again, self.deep = nn.Linear(10, 16), nn.Linear(10, 16), nn.Linear(16, 16)
        self.again.weight = self.inn.weight
        self.out = nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.inn(x)) * torch.sigmoid(self.again(x))
        return self.out(F.gelu(self.deep(F.gelu(self.deep(y)))))


class Headed(nn.Module):
    """A convolution, a batch norm, and a linear head of two layers behind the flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU())
        self.first, self.second = nn.Linear(5 * 4, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(self.body(x).flatten(1))))


def mlp() -> Made:
    net = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 5))
    return net, torch.randn(6, 12), torch.randn(2, 3, 12)


def tied() -> Made:
    return Tied(), torch.randn(6, 10), torch.randn(3, 10)


def convnet() -> Made:
    return Headed(), torch.randn(2, 3, 6, 6), torch.randn(5, 3, 6, 6)


def bert() -> Made:
    from transformers import BertConfig, BertModel

    sizes = dict.fromkeys(("hidden_size", "max_position_embeddings"), 16)
    config = BertConfig(vocab_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=24, **sizes)
    return BertModel(config), tokens(2, 7), tokens(3, 5)


def llama() -> Made:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=32, intermediate_size=24, max_position_embeddings=16, use_cache=False, **sizes)
    return LlamaForCausalLM(config), tokens(2, 7), tokens(3, 5)


def gpt2() -> Made:
    from transformers import GPT2Config, GPT2LMHeadModel

    ends = {"bos_token_id": 0, "eos_token_id": 0, "use_cache": False}
    config = GPT2Config(vocab_size=32, n_embd=16, n_layer=1, n_head=4, n_positions=16, **ends)
    return GPT2LMHeadModel(config), tokens(2, 7), tokens(3, 5)


def vit() -> Made:
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 24}
    model = ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, **sizes))
    return model, {"pixel_values": torch.randn(2, 3, 8, 8)}, {"pixel_values": torch.randn(3, 3, 8, 8)}


def tokens(batch: int, length: int) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(0, 32, (batch, length))}


MODELS: dict[str, Callable[[], Made]] = {
    "mlp": mlp,
    "tied": tied,
    "convnet": convnet,
    "bert": bert,
    "llama": llama,
    "gpt2": gpt2,
    "vit": vit,
}


def made(name: str, seed: int = 0) -> Made:
    """A model of the table with random numbers in all of its tensors."""
    torch.manual_seed(seed)
    model, inputs, others = MODELS[name]()
    with torch.no_grad():
        for label, t in [*model.named_parameters(), *model.named_buffers()]:
            if t.is_floating_point() and "inv_freq" not in label:
                t.normal_(std=0.3 if t.dim() > 1 else 0.5)
                t.abs_().add_(0.5) if "var" in label else t
    return model.eval(), inputs, others


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """The weights of linear layers as (outputs, inputs), views into the parameters; tied tables aside."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    found = {}
    for name, m in model.named_modules():
        if isinstance(m, nn.Linear) and id(m.weight) not in tables:
            found[name] = m.weight.detach()
        elif type(m).__name__ == "Conv1D":
            found[name] = m.weight.detach().t()
    return found


def shares(t: Tensor, keep: float, seed: int = 0) -> Tensor:
    """Bool, about so many true."""
    return torch.rand(t.shape, generator=torch.Generator().manual_seed(seed + t.numel())) < keep


def unstructured(model: nn.Module) -> None:
    for w in matrices(model).values():
        w.mul_(shares(w, 0.1))


def rows(model: nn.Module) -> None:
    for w in matrices(model).values():
        w.mul_(shares(w[:, :1], 0.4))


def columns(model: nn.Module) -> None:
    for w in matrices(model).values():
        w.mul_(shares(w[:1], 0.4))


def rows_and_columns(model: nn.Module) -> None:
    for w in matrices(model).values():
        w.mul_(shares(w[:1], 0.5, 1) * shares(w[:, :1], 0.5))


def patterned(model: nn.Module) -> None:
    """Full rows × columns, and single entries outside."""
    for w in matrices(model).values():
        w.mul_((shares(w[:1], 0.4, 1) & shares(w[:, :1], 0.4)) | shares(w, 0.05, 2))


def whole(model: nn.Module) -> None:
    """One matrix of every other layer is zero."""
    for w in list(matrices(model).values())[::2]:
        w.zero_()


def nothing(model: nn.Module) -> None:
    """No zeros at all."""


MASKS: dict[str, Callable[[nn.Module], None]] = {
    "unstructured": unstructured,
    "rows": rows,
    "columns": columns,
    "rows and columns": rows_and_columns,
    "patterned": patterned,
    "whole matrices": whole,
    "nothing": nothing,
}


def masked(name: str, mask: str, seed: int = 0) -> Made:
    """A model of the table under a mask of the table."""
    model, inputs, others = made(name, seed)
    MASKS[mask](model)
    return model, inputs, others
