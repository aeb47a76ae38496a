"""Positions that are padding are no samples: a batch of padded rows says what its rows say one by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.calibration import Calibration
from niwaki.calibration.activity import Activity
from niwaki.calibration.batches import Batch, Source
from niwaki.calibration.padding import real_positions, without_padding

LENGTHS = (5, 2, 3)


class Reader(nn.Module):
    """Two layers on every token; what they make of padding is far from nought."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 6)
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        found = self.second(torch.relu(self.first(self.tokens(input_ids))))
        return (found * attention_mask[..., None]).sum(1)


def texts() -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(1, 11, (length,), generator=generator) for length in LENGTHS]


def padded(rows: list[Tensor]) -> dict[str, Tensor]:
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def activity(model: nn.Module, batches: list[dict[str, Tensor]]) -> Activity:
    graph = nk.trace(model, batches[0])
    found = Calibration(model, graph, Source(batches, batches[0]))
    (block,) = [b for b in found.blocks(graph.groups) if b.group.name == "first"]
    return found.activity(block, moments=True)


class Wrapped(nn.Module):
    """Hands everything on, as wrappers around models of transformers do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **inputs: Tensor) -> Tensor:
        return self.inner(**inputs)


def test_a_mask_among_arguments_of_any_name_is_found() -> None:
    batch = padded(texts())
    real = real_positions(Wrapped(Reader()), Batch((), dict(batch), len(LENGTHS)))
    assert real is not None
    assert torch.equal(real, batch["attention_mask"].bool())


def test_a_padded_batch_says_what_its_rows_say_one_by_one() -> None:
    torch.manual_seed(0)
    model = Reader().eval()
    together, alone = activity(model, [padded(texts())]), activity(model, [padded([row]) for row in texts()])
    kept = torch.arange(8) < 3
    torch.testing.assert_close(together.mass(), alone.mass())
    torch.testing.assert_close(together.mass(absolute=False), alone.mass(absolute=False))
    for some in (kept, torch.zeros_like(kept)):
        torch.testing.assert_close(together.importance(some), alone.importance(some))
    torch.testing.assert_close(together.products(), alone.products())


def test_padding_would_count_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = Reader().eval()
    alone = activity(model, [padded([row]) for row in texts()]).mass()
    monkeypatch.setattr("niwaki.calibration.calibration.without_padding", lambda hidden, real: hidden)
    assert not torch.allclose(activity(model, [padded(texts())]).mass(), alone)


def test_a_mask_without_its_name_is_read_too() -> None:
    torch.manual_seed(0)
    model, named = Reader().eval(), padded(texts())
    unnamed = tuple(named.values())
    graph = nk.trace(model, unnamed)
    found = Calibration(model, graph, Source([unnamed], unnamed))
    (block,) = [b for b in found.blocks(graph.groups) if b.group.name == "first"]
    torch.testing.assert_close(found.activity(block).mass(), activity(model, [named]).mass())


def real(given: dict[str, Any], model: nn.Module | None = None) -> Tensor | None:
    return real_positions(model or Reader(), Batch((), given, 2))


def test_a_mask_is_read_where_it_is_one() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    found = real({"attention_mask": mask})
    assert found is not None
    assert found.tolist() == [[True, True, False], [True, True, True]]
    assert real({}) is None
    assert real({"attention_mask": torch.ones(2, 3)}) is None, "it hides nothing"
    assert real({"attention_mask": mask[:, None, None]}) is None, "it is not one number per position"
    assert real({"attention_mask": mask, "others": 1}) is not None, "what forward does not take is no trouble"
    writer = Reader()
    writer.config = SimpleNamespace(is_encoder_decoder=True)  # type: ignore[assignment]
    assert real({"attention_mask": mask}, writer) is None, "what it writes has positions of its own"


def test_only_what_has_the_positions_loses_some() -> None:
    real = torch.tensor([[True, False], [True, True]])
    hidden = torch.arange(12.0).view(2, 2, 3)
    assert without_padding(hidden, real).tolist() == [[0, 1, 2], [6, 7, 8], [9, 10, 11]]
    assert without_padding(hidden.flatten(0, 1), real).tolist() == [[0, 1, 2], [6, 7, 8], [9, 10, 11]]
    for other in (torch.zeros(2, 3), torch.zeros(2, 5, 3), torch.zeros(2, 2, 3, 3)):
        assert without_padding(other, real) is other
    assert without_padding(hidden, None) is hidden
