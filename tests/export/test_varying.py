"""Sizes vary in every format, batch and sequence, whatever the inputs are called; what cannot vary is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import BadInput
from niwaki.export.samples import samples
from niwaki.export.varying import named, sizes_of
from niwaki.surgery.exports import exported_checks
from tests.export.formats import FORMATS, written

IDS = torch.arange(3, 15).reshape(2, 6)
MASK = torch.ones(2, 6, dtype=torch.long)


class Reader(nn.Module):
    """A layer of attention over token ids, as small as can be."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.places = nn.Embedding(20, 8), nn.Embedding(12, 8)
        self.mix, self.out = nn.Linear(8, 24), nn.Linear(8, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> dict[str, Any]:
        x = self.embed(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        q, k, v = self.mix(x).chunk(3, -1)
        mask = None if attention_mask is None else attention_mask[:, None, :].bool()
        return {"logits": self.out(nn.functional.scaled_dot_product_attention(q, k, v, mask)), "cache": None}


class Pictures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.out(self.conv(pixels).relu().mean((2, 3)))


CASES = {
    "tokens by name": (Reader, {"input_ids": IDS, "attention_mask": MASK}, True, 7),
    "tokens by place": (Reader, (IDS, MASK), ("batch", "sequence"), 7),
    "one sentence": (Reader, {"input_ids": IDS[:1]}, True, 7),
    "with a number": (Reader, {"input_ids": IDS, "use_cache": False}, "sequence", 4),
    "pictures": (Pictures, torch.randn(1, 3, 6, 6), True, 4),
    "larger pictures": (Pictures, {"pixels": torch.randn(2, 3, 6, 6)}, {"pixels": {2: "height", 3: "width"}}, 7),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", FORMATS)
def test_sizes_vary(form: str, case: str, tmp_path: Path) -> None:
    build, inputs, dynamic, count = CASES[case]
    model = build().eval()
    path = written(form, model, inputs, tmp_path, dynamic=dynamic)
    checks = list(exported_checks("model", model, {form: path}, inputs, dynamic=dynamic, tolerance=1e-5))
    assert [c for c in checks if not c.holds] == []
    assert [c.kind for c in checks] == ["forward"] * count + ["file size"]
    assert {(c.name, c.against) for c in checks} == {(form, "model")}


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_of_positions_ends_somewhere(form: str, tmp_path: Path) -> None:
    """The sequence can be as long as there are positions; the bounds are found."""
    model = Reader().eval()
    found = nk.export.opened(written(form, model, {"input_ids": IDS}, tmp_path, dynamic=True))
    longest = torch.arange(12).reshape(1, 12)
    with torch.no_grad():
        torch.testing.assert_close(found(input_ids=longest)[0], model(longest)["logits"], rtol=1e-4, atol=1e-5)


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        batch, length = int(x.shape[0]), x.shape[1]
        if batch == 2:
            return x * length
        return x.sum(1, keepdim=True) * 3


@pytest.mark.parametrize("form", FORMATS)
def test_a_size_that_cannot_vary_is_named_with_what_to_do(form: str, tmp_path: Path) -> None:
    dynamic = {"x": {0: "batch", 1: "width"}}
    with pytest.raises(BadInput, match=r"'batch' \(dimension 0 of x\) can be 2 alone.*Let vary 'width'"):
        written(form, Fixed(), torch.randn(2, 4), tmp_path, dynamic=dynamic)
    assert list(tmp_path.iterdir()) == []
    written(form, Fixed(), torch.randn(2, 4), tmp_path, dynamic={"x": {1: "width"}})


WRONG: dict[str, Any] = {
    "is none of the known sizes, batch and sequence; did you mean 'sequence'": "sequences",
    "no input has a sequence": "sequence",
    "no input is called 'y'; there are x": {"y": {0: "batch"}},
    "'x' has no dimension 3": {"x": {3: "depth"}},
    "'a b' is no name for a size": {"x": {0: "a b"}},
    "'side' is 2 and 4 in these inputs": {"x": {0: "side", 1: "side"}},
    r"name}}, not {'x': \[0\]}": {"x": [0]},
    r"name}}, not {'x': {'0': 'batch'}}": {"x": {"0": "batch"}},
    r"name}}, not {'x': {0: None}}": {"x": {0: None}},
    r"name}}, not {'x': 'batch'}": {"x": "batch"},
    r"name}}, not {0: {0: 'batch'}}": {0: {0: "batch"}},
    "name}}, not 1": 1,
    r"name}}, not \[0\]": [0],
}


@pytest.mark.parametrize("told", WRONG)
def test_what_cannot_be_meant_is_told(told: str) -> None:
    with pytest.raises(BadInput, match=told):
        sizes_of(WRONG[told], {"x": torch.randn(2, 4)})


def test_a_dim_of_torch_is_called_as_it_calls_itself() -> None:
    given: Any = {"x": {0: torch.export.Dim("rows")}}
    assert sizes_of(given, {"x": torch.randn(2, 4)}) == {"x": {0: "rows"}}
    for bounds in ({"min": 4}, {"max": 8}):
        given = {"x": {0: torch.export.Dim("rows", **bounds)}}
        with pytest.raises(BadInput, match="'rows' has bounds, which would be lost"):
            sizes_of(given, {"x": torch.randn(2, 4)})


def test_words_may_be_a_set() -> None:
    words: Any = {"batch"}
    assert sizes_of(words, {"x": torch.randn(2, 4)}) == {"x": {0: "batch"}}


def test_an_empty_input_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'x' is empty in dimension 0"):
        nk.export.torch_export(Fixed(), torch.randn(0, 4), tmp_path / "x.pt2", dynamic="batch")


def test_sizes_have_the_names_that_the_words_stand_for() -> None:
    tensors = {"input_ids": IDS, "token_type_ids": IDS, "table": torch.ones(7, 3), "decoder_input_ids": IDS[:, :4]}
    tensors["second"] = IDS[:, :2]
    assert sizes_of(True, tensors) == {
        "input_ids": {0: "batch", 1: "sequence"},
        "token_type_ids": {0: "batch", 1: "sequence"},
        "decoder_input_ids": {0: "batch", 1: "decoder_sequence"},
        "second": {0: "batch", 1: "sequence_of_second"},
    }
    assert sizes_of(False, tensors) == {}
    assert sizes_of(True, {"pixels": torch.ones(2, 3, 8, 8)}) == {"pixels": {0: "batch"}}


class Nested(nn.Module):
    def forward(self, first: Any, *rest: Any, scale: float, more: Any = None) -> Any:
        return first


def test_tensors_are_named_by_the_parameters_that_take_them() -> None:
    a, b, c, d = torch.ones(4, 1).unbind()
    assert list(named(Nested(), ((a, b), c), {"scale": 2.0, "more": {"deep": [d]}})) == [
        *("first_0", "first_1", "rest_0", "more_deep_0"),
    ]


def test_samples_of_one_value_change_only_where_they_can() -> None:
    """Zeros for a picture say little; a mask of ones says what it is, and twice the same call says nothing."""
    pictures, mask = torch.zeros(2, 3, 4, 4), torch.ones(2, 6)
    given, drawn = samples(nn.Identity(), pictures)
    assert (given.told, drawn.told) == ("as given", "seed 1")
    assert len(drawn.args[0].unique()) == pictures.numel()
    assert [s.told for s in samples(nn.Identity(), mask)] == ["as given"]


class Sorted(nn.Module):
    """Takes lengths that fall, and no others."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if lengths.tolist() != sorted(lengths.tolist(), reverse=True):
            raise RuntimeError
        return self.b(torch.relu(self.a(x)))


def test_what_the_model_does_not_take_is_not_asked_of_a_file() -> None:
    model, inputs = Sorted(), (torch.randn(5, 4), torch.tensor([9, 7, 5, 3, 1]))
    found = list(exported_checks("model", model, model, inputs, tolerance=1e-4))
    assert [(check.detail, check.holds) for check in found] == [("as given", True)]
    with pytest.raises(RuntimeError):
        list(exported_checks("model", model, model, (inputs[0], torch.tensor([1, 2, 3, 4, 5])), tolerance=1e-4))


def test_samples_have_other_values_and_sizes_and_keep_masks() -> None:
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    ids = torch.tensor([[5, 6, 7, 8], [9, 5, 1, 1]])
    found = list(samples(Reader(), {"input_ids": ids, "attention_mask": mask}, True))
    assert [s.told for s in found] == [
        "as given",
        "seed 1",
        *("batch 1, seed 2", "batch 3, seed 3", "sequence 2, seed 4", "sequence 7, seed 5"),
        "batch 3, sequence 7, seed 6",
    ]
    assert torch.equal(found[0].kwargs["input_ids"], ids)
    assert torch.equal(found[1].kwargs["attention_mask"], mask)
    assert not torch.equal(found[1].kwargs["input_ids"], ids)
    assert found[6].kwargs["attention_mask"].tolist() == [[1] * 7, [1, 1, 0, 0, 1, 1, 0], [1] * 7]
    for sample in found:
        assert set(sample.kwargs["input_ids"].unique().tolist()) <= set(ids.unique().tolist())
    again = list(samples(Reader(), {"input_ids": ids, "attention_mask": mask}, True))
    assert all(torch.equal(a.kwargs["input_ids"], b.kwargs["input_ids"]) for a, b in zip(found, again, strict=True))
