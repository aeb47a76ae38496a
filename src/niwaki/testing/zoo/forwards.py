"""Habits of forward code: hard-coded sizes, side outputs, nested inputs, dead code, Python decisions."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from niwaki.testing.zoo.grouped import Sandwich
from niwaki.testing.zoo.nursery import Specimen, axes, ends, floats, images, planted, tags, ties


class HardCodedView(nn.Module):
    """Writes the width of a hidden layer as a number; with -1 for the batch, some wrong widths fit too."""

    def __init__(self, rows: int | None) -> None:
        super().__init__()
        self.rows = rows
        self.fc1 = nn.Linear(6, 64)
        self.fc2 = nn.Linear(64, 16)
        self.fc3 = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        b = x.size(0) if self.rows is None else self.rows
        x = F.gelu(self.fc1(x)).view(b, 64)
        return self.fc3(F.gelu(self.fc2(x)))


class UnusedParts(Sandwich):
    """Keeps a branch and a parameter that no forward touches, of tempting sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.old_head = nn.Linear(16, 16)
        self.old_scale = nn.Parameter(torch.ones(16))

    def between(self, x: Tensor) -> Tensor:
        return F.relu(x)


class TwoOutputs(Sandwich):
    """Answers with logits and features, in a dict or in a tuple: the features are seen outside."""

    def __init__(self, named: bool) -> None:
        super().__init__()
        self.named = named

    def forward(self, x: Tensor) -> Any:
        features = F.relu(self.conv2(F.relu(self.conv1(x)))).mean((2, 3))
        logits = self.fc(features)
        return {"logits": logits, "features": features} if self.named else (logits, features)


class NestedInput(nn.Module):
    """Takes one batch: a dict with a dict inside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc1 = nn.Linear(4, 6)
        self.fc = nn.Linear(14, 5)

    def forward(self, batch: dict) -> Tensor:
        seen = F.relu(self.conv(batch["image"])).mean((2, 3))
        told = F.gelu(self.fc1(batch["meta"]["facts"]))
        return self.fc(torch.cat([seen, told], dim=-1))


class Decision(Sandwich):
    """Looks at the numbers of its input before it chooses its way."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            x = -x
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return self.fc(x.mean((2, 3)))


class FunctionalWeights(nn.Module):
    """Keeps its weights in lists and calls functions on them."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 8, 12, 5)
        pairs = list(pairwise(widths))
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(out, width, 3, 3)) for width, out in pairs)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(out)) for _, out in pairs)

    def forward(self, x: Tensor) -> Tensor:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = F.relu(F.conv2d(x, weight, bias, padding=1))
        return F.conv2d(x, self.weights[-1], self.biases[-1])


def nested_batch() -> tuple[dict[str, object]]:
    """Make one batch of images and facts, the way a loader collates it."""
    image, facts = floats((2, 3, 6, 6), (2, 4))()
    return ({"image": image, "meta": {"facts": facts}},)


class Frequencies(nn.Module):
    """Makes its features of one number by a bare vector, which no layer holds."""

    def __init__(self) -> None:
        super().__init__()
        self.frequencies, self.phases = nn.Parameter(torch.ones(12)), nn.Parameter(torch.zeros(12))
        self.fc1, self.fc2 = nn.Linear(12, 16), nn.Linear(16, 4)

    def forward(self, t: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(torch.sin(t[:, None] * self.frequencies + self.phases))))


def _hard_coded_view(name: str, rows: int | None) -> Specimen:
    return Specimen(
        name,
        planted(HardCodedView, rows),
        floats((2, 6)),
        tags("mlp must_block"),
        blocks=ends("fc1", "fc3") + axes("fc1.weight:0 fc1.bias:0 fc2.weight:1"),
        prunable=axes("fc2.weight:0"),
        tied=ties("fc2.weight:0 fc2.bias:0 fc3.weight:1"),
    )


def _two_outputs(name: str, named: bool) -> Specimen:
    return Specimen(
        name,
        planted(TwoOutputs, named),
        images(3, 6),
        tags("cnn outputs"),
        blocks=ends("conv1", "fc") + axes("conv2.weight:0 conv2.bias:0 fc.weight:1"),
        prunable=axes("conv1.weight:0"),
        tied=ties("conv1.weight:0 conv2.weight:1"),
    )


SPECIMENS = (
    _hard_coded_view("hard_coded_view", None),
    _hard_coded_view("hard_coded_view_any_rows", -1),
    Specimen(
        "unused_parts",
        planted(UnusedParts),
        images(3, 6),
        tags("cnn unused"),
        blocks=ends("conv1", "fc") + axes("old_head.weight:0 old_head.weight:1 old_head.bias:0 old_scale:0"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 conv2.weight:1"),
    ),
    _two_outputs("two_outputs_dict", True),
    _two_outputs("two_outputs_tuple", False),
    Specimen(
        "nested_input",
        planted(NestedInput),
        nested_batch,
        tags("cnn concat inputs"),
        blocks=ends("conv", "fc") + axes("fc1.weight:1"),
        prunable=axes("conv.weight:0 fc1.weight:0"),
        tied=ties("conv.weight:0 fc.weight:1", "fc1.weight:0 fc.weight:1"),
    ),
    Specimen(
        "data_dependent_if",
        planted(Decision),
        images(3, 6),
        tags("cnn reads_values"),
        blocks=ends("conv1", "fc"),
        prunable=axes("conv1.weight:0 conv2.weight:0"),
        tied=ties("conv1.weight:0 conv2.weight:1", "conv2.weight:0 fc.weight:1"),
    ),
    Specimen(
        "functional_weights",
        planted(FunctionalWeights),
        images(3, 6),
        tags("cnn functional"),
        blocks=axes("weights.0:1 weights.2:0 biases.2:0"),
        prunable=axes("weights.0:0 weights.1:0"),
        tied=ties("weights.0:0 biases.0:0 weights.1:1", "weights.1:0 biases.1:0 weights.2:1"),
    ),
    Specimen(
        "bare_frequencies",
        planted(Frequencies),
        floats((5,)),
        tags("mlp functional"),
        blocks=axes("fc2.weight:0 fc2.bias:0"),
        prunable=axes("frequencies:0 fc1.weight:0"),
        tied=ties("frequencies:0 phases:0 fc1.weight:1", "fc1.weight:0 fc2.weight:1"),
    ),
)
