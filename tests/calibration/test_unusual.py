"""Networks and data out of the ordinary: layers with a forward pass of their own, experts that sleep, blocks that are
called again, norms of spectra, convolutions that are no matrix."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from transformers import AlbertConfig, AlbertModel

import niwaki as nk
from niwaki.calibration import Calibration, Source
from niwaki.errors import BadInput
from tests.calibration.nets import alive, rows

HALF = nk.Ratio(0.5)


def error(dense: nn.Module, small: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((dense(x) - small(x)).square().sum())


class Joined(nn.Module):
    """Two layers side by side behind a sigmoid, which gives 0.5 where a unit is masked."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 12), nn.Linear(6, 12), nn.Linear(24, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.sigmoid(torch.cat([self.a(x), self.b(x)], -1)))


def test_a_fit_does_not_lean_on_units_that_are_masked_already() -> None:
    model, x = alive(Joined()), rows(256)
    plain, fitted = (nk.prune(model, x[:2], nk.methods.ispasp(HALF, compensate=c), data=[x]) for c in (False, True))
    assert error(model, fitted, x) < 0.2 * error(model, plain, x)
    # As cut one after the other, with what is left fitted anew each time.
    steps = nk.prune(model, x[:2], nk.methods.ispasp(nk.Ratio(0.5, only="a"), compensate=True), data=[x])
    steps = nk.prune(steps, x[:2], nk.methods.ispasp(nk.Ratio(0.5, only="b"), compensate=True), data=[x])
    # (There the target is what the first fit gave, here what the dense layer did: they differ a little.)
    assert error(model, fitted, x) < 2 * error(model, steps, x)


class Experts(nn.Module):
    """Two experts; the first is sent samples that are very large alone."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.ModuleList(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 6)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        large, out = x[:, 0] > 1e6, torch.zeros_like(x)
        for expert, sent in zip(self.each, (large, ~large), strict=True):
            at = sent.nonzero()[:, 0]
            out = out.index_add(0, at, expert(x[at]))
        return out


def test_an_expert_that_no_sample_is_sent_to_is_not_fitted(caplog: pytest.LogCaptureFixture) -> None:
    model, x = alive(Experts()), rows(64)
    small = nk.prune(model, x[:2], nk.methods.ispasp(HALF, compensate=True), data=[x])
    assert any("'each.0.2' was given nothing on these samples" in told for told in caplog.messages)
    kept = small.each[0][2].weight
    assert all(any(torch.equal(column, old) for old in model.each[0][2].weight.t()) for column in kept.t())
    assert small.each[1][2].weight.shape == (6, 8)
    assert error(model, small, x) < error(model, nk.prune(model, x[:2], nk.methods.ispasp(HALF), data=[x]), x)


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * 0.05, self.bias)


class Renamed(nn.Linear):
    """A forward pass of its own, which gives the same."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t() + self.bias


def with_second(kind: type[nn.Linear]) -> nn.Module:
    return alive(nn.Sequential(nn.Linear(6, 12), nn.ReLU(), kind(12, 8), nn.ReLU(), nn.Linear(8, 4)))


@pytest.mark.parametrize(
    "method",
    [nk.methods.ispasp(HALF), nk.methods.gfs(HALF), nk.methods.topk(HALF, compensate=True)],
    ids=["ispasp", "gfs", "topk fitted"],
)
def test_a_layer_that_computes_otherwise_is_not_taken_for_a_plain_one(method: Any) -> None:
    model, x, rows_seen = with_second(Scaled), rows(64), []
    run = nk.Pruning(
        model, torch.optim.SGD(model.parameters(), lr=0.0), method, x[:2], data=[x], record=rows_seen.append
    )
    (left,) = [row for row in rows_seen if row["event"] == "left"]
    assert left["group"] == "0"
    assert "'2', a Scaled with a forward pass of its own, which does not give what its weight" in left["reason"]
    run.run_at_once()
    assert [model[k].out_features for k in (0, 2)] == [12, 4]
    named = nk.methods.ispasp(nk.Ratio(0.5, only="0"))
    with pytest.raises(BadInput, match="a Scaled with a forward pass of its own"):
        nk.prune(with_second(Scaled), x[:2], named, data=[x])


def test_masses_need_no_plain_layer_and_what_gives_the_same_is_one() -> None:
    x = rows(64)
    small = nk.prune(with_second(Scaled), x[:2], nk.methods.topk(HALF), data=[x])
    assert small[0].out_features == 6
    plain, renamed = (
        nk.prune(with_second(kind), x[:2], nk.methods.ispasp(HALF, compensate=True), data=[x])
        for kind in (nn.Linear, Renamed)
    )
    torch.testing.assert_close(renamed(x), plain(x))
    assert renamed[0].out_features == 6


class Conv1D(nn.Module):
    """Somebody's own of this name, which holds a layer and no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x[:, None])[:, 0]


class Cast(nn.Linear):
    """Weights of float32 before activations of another type."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class Blanked(nn.Module):
    """A second call, with no rows at all."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 12), Renamed(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.up(x))
        return self.down(h) + self.down(h[:0]).sum()


class Half(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = Cast(6, 12), Cast(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x.bfloat16()))).float()


@pytest.mark.parametrize(
    "make",
    [lambda: nn.Sequential(Conv1D(), nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4)), Blanked, Half],
    ids=["another Conv1D", "no rows", "float32 weights"],
)
@pytest.mark.parametrize("name", ["topk", "ispasp"])
def test_layers_that_only_look_unusual_are_looked_at(make: Any, name: str) -> None:
    model, x = alive(make()), rows(64)
    small = nk.prune(model, x[:2], getattr(nk.methods, name)(HALF), data=[x])
    layers = [m.out_features for m in small.modules() if isinstance(m, nn.Linear)]
    assert layers == [6, 4]


def test_rows_of_nan_are_no_forward_of_its_own() -> None:
    x = rows(64).index_fill(0, torch.tensor([3]), torch.nan)
    with pytest.raises(BadInput, match="the activations of group '0' hold inf or nan"):
        nk.prune(with_second(Renamed), x[:2], nk.methods.ispasp(HALF), data=[x])


def test_inference_mode_does_for_masses() -> None:
    with torch.inference_mode():
        small = nk.prune(with_second(nn.Linear), rows(2), nk.methods.topk(HALF), data=[rows(16)])
    assert small[0].out_features == 6


class Again(nn.Module):
    """One residual block, called several times."""

    def __init__(self, times: int = 3) -> None:
        super().__init__()
        self.first, self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 12), nn.Linear(12, 8)
        self.head, self.times = nn.Linear(8, 3), times

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(self.times):
            x = x + 0.1 * self.down(F.gelu(self.up(x)))
        return self.head(x)


def test_the_inside_of_a_block_that_is_called_again_is_no_stream() -> None:
    model, x = alive(Again()), rows(64)
    graph = nk.trace(model, x[:2])
    calibration = Calibration(model, graph, Source([x], x[:2]))
    (block,) = calibration.blocks(graph.groups)
    assert block.group.name == "up"
    assert len(block.seconds) == 3
    (stream,) = calibration.left_out.values()
    assert "joins what several blocks make (a residual stream)" in stream
    assert nk.prune(model, x[:2], nk.methods.ispasp(HALF), data=[x]).up.out_features == 6


def test_heads_and_neurons_of_albert_are_found() -> None:
    torch.manual_seed(0)
    config = AlbertConfig(
        vocab_size=50, embedding_size=8, hidden_size=16, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=24, max_position_embeddings=32,
    )  # fmt: skip
    model, ids = AlbertModel(config).eval(), torch.randint(0, 50, (8, 6))
    small = nk.prune(model, {"input_ids": ids[:2]}, nk.methods.ispasp(HALF), data=[{"input_ids": ids}])
    layer = small.encoder.albert_layer_groups[0].albert_layers[0]
    assert layer.ffn.out_features == 12
    assert layer.attention.query.out_features == 8
    assert small.config.hidden_size == 16


def spectral(how: str) -> nn.Module:
    norm: Any = {"new": parametrizations.spectral_norm, "old": nn.utils.spectral_norm}[how]
    torch.manual_seed(0)
    layers = [norm(nn.Linear(*shape)) for shape in ((6, 16), (16, 12), (12, 4))]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).eval()


@pytest.mark.parametrize("how", ["new", "old"])
@pytest.mark.filterwarnings("ignore:.*spectral_norm.* is deprecated")
def test_vectors_of_spectral_norm_take_no_units(how: str) -> None:
    model, x = spectral(how), rows(64)
    graph = nk.trace(model, x[:2])
    blocks = Calibration(model, graph, Source([x], x[:2])).blocks(graph.groups)
    assert [[taker.path for taker in block.takers] for block in blocks] == [["2"], ["4"]]
    small = nk.prune(model, x[:2], nk.methods.ispasp(HALF), data=[x])
    assert small(x).shape == (64, 4)
    assert (small[0].out_features, small[2].out_features) == (8, 6)


class UpAndDown(nn.Module):
    """A transposed and a grouped convolution, and one that is a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.b = nn.Conv2d(8, 6, 3)
        self.c = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.up(F.relu(self.a(x))))
        return self.c(F.relu(self.b(F.relu(self.grouped(x)))))


def test_layers_that_are_no_matrix_are_told_and_the_others_fitted(caplog: pytest.LogCaptureFixture) -> None:
    model = alive(UpAndDown())
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    plain, fitted = (nk.prune(model, x[:2], nk.methods.ispasp(HALF, compensate=c), data=[x]) for c in (False, True))
    (told,) = [message for message in caplog.messages if "no matrix" in message]
    assert told.startswith("2 of the groups ('a', ")
    assert told.endswith("which are no matrix: they are not fitted")
    assert fitted.up.weight.shape == plain.up.weight.shape
    torch.testing.assert_close(fitted.up.weight, plain.up.weight)
    assert error(model, fitted, x) < error(model, plain, x)

    caplog.clear()
    with caplog.at_level(logging.WARNING, "niwaki"):
        quick = nk.prune(model, x[:2], nk.methods.gfs(HALF), data=[x])
    (told,) = [message for message in caplog.messages if "no matrix" in message]
    assert "every candidate is run through them, as with reuse=False" in told
    slow = nk.prune(model, x[:2], nk.methods.gfs(HALF, reuse=False), data=[x])
    torch.testing.assert_close(quick(x), slow(x))


class Either(nn.Module):
    """Two layers that take the same units, in an order that the data decide."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.a, self.b = nn.Linear(6, 12), nn.Linear(12, 4), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.e(x))
        if x.sum() > 0:
            return self.a(h) + self.b(h * h)
        second = self.b(h * h)
        return self.a(h) + second


def test_layers_that_are_called_in_another_order_are_not_taken_for_each_other() -> None:
    model, x = alive(Either()), rows(32).abs()
    graph = nk.trace(model, x[:2])
    calibration = Calibration(model, graph, Source([x, -x], x[:2]))
    (block,) = calibration.blocks(graph.groups)
    with pytest.raises(BadInput, match="on batch 1 the model called the layers that are looked at in another order"):
        calibration.activity(block)


SWITCHES = [
    lambda: nk.methods.ispasp(HALF, compensate="no"),  # type: ignore[arg-type]
    lambda: nk.methods.topk(HALF, reestimate=1),  # type: ignore[arg-type]
    lambda: nk.methods.gfs(HALF, rescale="no"),  # type: ignore[arg-type]
    lambda: nk.methods.gfs(HALF, reuse=None),  # type: ignore[arg-type]
    lambda: nk.methods.michel(HALF, each="no"),  # type: ignore[arg-type]
    lambda: nk.methods.michel(HALF, normalised=0),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("make", SWITCHES)
def test_switches_are_on_or_off(make: Any) -> None:
    with pytest.raises(BadInput, match=r"must be True or False, not ('no'|1|None|0)"):
        make()


def test_a_loss_that_is_no_number_is_named() -> None:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        return model(batch).sum() * float("nan")

    with pytest.raises(BadInput, match="loss gave nan on a batch"):
        nk.prune(alive(Again()), rows(2), nk.methods.michel(HALF), data=[rows(8)], loss=loss)


def test_inference_mode_is_told() -> None:
    with (
        torch.inference_mode(),
        pytest.raises(BadInput, match=r"under torch.inference_mode\(\) there are no gradients"),
    ):
        nk.prune(alive(Again()), rows(2), nk.methods.ispasp(HALF), data=[rows(8)])
