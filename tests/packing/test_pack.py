"""Packed equals masked, for every model of the table under every mask; and what packing refuses or leaves alone."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import niwaki as nk
from niwaki.errors import BadInput, UntraceableModel
from niwaki.graph.observe import call_arguments, tensors_of
from niwaki.packing import FORMS, PackedLinear, Packing
from niwaki.packing import sound as room
from niwaki.packing.candidates import candidates
from niwaki.packing.choose import offered
from niwaki.testing.zoo import specimen
from tests.packing.models import MASKS, MODELS, made, masked, matrices

SLOW = ("bert", "llama", "gpt2", "vit")
PAIRS = [(model, mask) for model in MODELS for mask in MASKS if model not in SLOW]
PAIRS += [(model, "patterned") for model in SLOW] + [("bert", "unstructured"), ("gpt2", "rows and columns")]


def answers(model: nn.Module, inputs: Any) -> list[Tensor]:
    args, kwargs = call_arguments(inputs)
    with torch.no_grad():
        return [t for t in tensors_of(model(*args, **kwargs), caches=False) if t.is_floating_point()]


def far(left: nn.Module, right: nn.Module, inputs: Any) -> float:
    """The largest difference of two models' answers, relative to the largest answer."""
    pairs = list(zip(answers(left, inputs), answers(right, inputs), strict=True))
    return max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-12)) for a, b in pairs)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in model.state_dict().items()}


def forms_of(packed: nn.Module) -> dict[str, str]:
    packing = nk.packing_of(packed)
    assert isinstance(packing, Packing)
    return packing.forms


# -- the law -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "mask"), PAIRS, ids=lambda v: v)
def test_packed_equals_masked(name: str, mask: str) -> None:
    """On these inputs and on others; whatever the forms; and the masked model is left as it was."""
    if name in SLOW:
        pytest.importorskip("transformers")
    model, inputs, others = masked(name, mask)
    before = state(model)
    removed = nk.pack(model, inputs, measure=False)
    for packed in (removed, *(nk.pack(removed, inputs, forms=form, remove=False) for form in FORMS[1:])):
        assert far(model, packed, inputs) < 1e-5
        assert far(model, packed, others) < 1e-5
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert not any(isinstance(m, PackedLinear) for m in model.modules())


@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("name", ["mlp", "tied"])
def test_every_form_is_taken_where_it_is_asked_for(name: str, form: str) -> None:
    model, inputs, others = masked(name, "rows and columns")
    packed = nk.pack(model, inputs, forms=form, remove=False)
    assert set(forms_of(packed).values()) == {form}
    assert sum(isinstance(m, PackedLinear) for m in packed.modules()) == len(matrices(model))
    assert nk.certify_packed(model, packed, inputs, more=[others]).holds


def test_a_wrong_packed_layer_is_seen_and_left_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """One layer's columns are read from one place too far: it alone stays dense, and says so."""
    model, inputs, _ = masked("mlp", "columns")
    honest = PackedLinear.of

    def off(weight: Tensor, parts: Any, bias: Any, **rest: Any) -> PackedLinear:
        layer = honest(weight, parts, bias, **rest)
        if weight.shape[1] == 20:
            layer.columns.add_(1).remainder_(20)
        return layer

    monkeypatch.setattr(room.PackedLinear, "of", off)
    packed = nk.pack(model, inputs, forms="columns", remove=False)
    assert forms_of(packed) == {"0": "columns", "4": "columns"}
    assert nk.packing_of(packed)["2"].reason.startswith("as columns it would change what the model answers: by ")
    assert far(model, packed, inputs) < 1e-5


def test_a_layer_whose_weight_is_read_by_another_module_stays_right() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + F.linear(x, self.layer.weight)

    torch.manual_seed(0)
    model, x = Reader().eval(), torch.randn(3, 6)
    model.layer.weight.data[2:] = 0
    packed = nk.pack(model, x, forms="rows")
    assert isinstance(packed.layer, PackedLinear)
    assert far(model, packed, x) < 1e-6


# -- what is decided, and how it is told -------------------------------------------------------------------------------


def test_measured_forms_have_times_and_reasons() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 64)), torch.randn(40, 64)
    with torch.no_grad():
        model[2].weight[1:] = 0
    rounds: list[int] = []
    packed = nk.pack(model, x, runs=3, remove=False, tick=lambda: rounds.append(1))
    packing = nk.packing_of(packed)
    assert len(rounds) == 1
    assert packing["0"].reason == "its weight has no zeros"
    layer = packing["2"]
    assert layer.input == (40, 512)
    assert set(layer.cost) == {"dense", "rows", "sparse"}
    assert all(ms > 0 for ms in layer.cost.values())
    assert "less time" in layer.reason or "gains" in layer.reason or "dense is quickest" in layer.reason
    assert packing.measured
    assert packing.environment["threads"] == torch.get_num_threads()
    if packing.forms:
        assert set(packing.whole) == {"dense", "packed"}


def test_a_form_that_gains_too_little_is_not_taken() -> None:
    model, inputs, _ = masked("mlp", "rows and columns")
    counted = nk.packing_of(nk.pack(model, inputs, measure=False, remove=False, margin=0.0))
    strict = nk.packing_of(nk.pack(model, inputs, measure=False, remove=False, margin=0.99))
    assert strict.forms == {}
    for layer in counted.layers:
        best = min(layer.cost.values())
        assert layer.cost[layer.form] == best
        assert strict[layer.name].cost == layer.cost


def test_the_counted_rule_by_hand() -> None:
    """Of 200 × 100 only 50 rows are left: 5,000 products and 200 numbers put in place, against 20,000; as single
    entries 3 times 5,000 and 300 moved."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(100, 200)), torch.randn(4, 100)
    model[0].weight.data[50:] = 0
    layer = nk.packing_of(nk.pack(model, x, measure=False))["0"]
    assert layer.cost == {"dense": 20_000, "rows": 5_000 + 16 * 200, "sparse": 3 * 5_000 + 16 * 300}
    assert layer.form == "rows"
    assert layer.reason == "59% fewer multiply-adds"
    assert layer.zeros == pytest.approx(0.75)


def test_the_same_forms_give_the_same_model_again() -> None:
    model, inputs, _ = masked("tied", "patterned")
    first = nk.pack(model, inputs, measure=False)
    again = nk.pack(model, inputs, measure=False)
    given = nk.pack(model, inputs, forms=forms_of(first))
    for other in (again, given):
        assert forms_of(other) == forms_of(first)
        assert list(other.state_dict()) == list(first.state_dict())
        assert all(torch.equal(t, first.state_dict()[name]) for name, t in other.state_dict().items())
    assert nk.packing_of(again) == nk.packing_of(first)


def test_forms_by_pattern_the_first_that_fits_counts() -> None:
    model, inputs, _ = masked("mlp", "rows and columns")
    packed = nk.pack(model, inputs, forms={"2": "sparse", "*": "rows"}, remove=False)
    assert forms_of(packed) == {"0": "rows", "2": "sparse", "4": "rows"}
    packed = nk.pack(model, inputs, forms={"2": "sparse"}, remove=False)
    assert forms_of(packed) == {"2": "sparse"}
    assert nk.packing_of(packed)["0"].reason == "as asked"


def test_a_form_that_leaves_nothing_out_stays_dense() -> None:
    model, inputs, _ = masked("mlp", "nothing")
    model[2].weight.data[0, 0] = 0
    packed = nk.pack(model, inputs, forms="rows_columns")
    assert forms_of(packed) == {}
    assert nk.packing_of(packed)["2"].reason == "rows_columns was asked for, and no row or column of it is empty"


def test_packing_twice_changes_nothing_more() -> None:
    model, inputs, _ = masked("mlp", "patterned")
    once = nk.pack(model, inputs, forms="core_sparse")
    twice = nk.pack(once, inputs, forms="rows")
    assert twice is not once
    assert nk.packing_of(twice).note == "It was packed already: nothing to do."
    assert forms_of(twice) == forms_of(once)
    assert all(torch.equal(t, once.state_dict()[name]) for name, t in twice.state_dict().items())


def test_a_model_without_zeros_is_a_plain_copy() -> None:
    model, inputs, _ = made("mlp")
    packed = nk.pack(model, inputs)
    assert packed is not model
    assert packed[0].weight is not model[0].weight
    assert list(packed.state_dict()) == list(model.state_dict())
    packing = nk.packing_of(packed)
    assert (packing.forms, packing.removed, packing.whole) == ({}, (), {})
    assert str(packing).startswith("Packed 0 of 3 linear layers; 0 dead units removed.")


def test_it_prints_as_a_table() -> None:
    model, inputs, _ = masked("mlp", "rows and columns")
    lines = str(nk.packing_of(nk.pack(model, inputs, forms={"2": "rows_columns"}, remove=False))).splitlines()
    assert lines[0] == "Packed 1 of 3 linear layers; 0 dead units removed."
    head, first, second = (line.split() for line in lines[1:4])
    assert head == ["layer", "matrix", "zeros", "form", "core", "single", "dense", "adds", "now", "adds", "why"]
    assert first[:4] == ["0", "20", "×", "12"]
    assert "rows_columns" in second


# -- layers that are tied, frozen, hooked, or not what they seem -------------------------------------------------------


def test_layers_that_share_a_weight_share_what_is_left_of_it() -> None:
    model, inputs, _ = masked("tied", "patterned")
    packed = nk.pack(model, inputs, forms="core_sparse", remove=False)
    assert packed.inn.core is packed.again.core
    assert packed.inn.values is packed.again.values
    assert packed.inn.bias is not packed.again.bias
    assert nk.packing_of(packed)["again"].reason == "as 'inn', with which it shares its weight"
    names = [name for name, _ in packed.named_parameters()]
    assert "again.core" not in names
    assert "again.bias" in names


def test_a_weight_that_an_embedding_has_too_stays_dense() -> None:
    pytest.importorskip("transformers")
    model, inputs, _ = masked("gpt2", "unstructured")
    with torch.no_grad():
        model.lm_head.weight[3] = 0
    packing = nk.packing_of(nk.pack(model, inputs, forms="sparse", remove=False))
    assert packing["lm_head"].form == "dense"
    assert packing["lm_head"].reason == "its weight is also that of 'transformer.wte'"


def test_frozen_layers_stay_frozen_and_the_mode_is_kept() -> None:
    model, inputs, _ = masked("mlp", "patterned")
    model[2].weight.requires_grad_(False)
    packed = nk.pack(model.train(), inputs, forms="core_sparse", remove=False)
    assert packed.training
    assert packed[2].training
    assert [p.requires_grad for p in (packed[0].core, packed[0].values, packed[2].core, packed[2].values)] == [
        True,
        True,
        False,
        False,
    ]


def test_a_layer_with_hooks_stays_dense() -> None:
    model, inputs, _ = masked("mlp", "rows")
    model[2].register_forward_hook(lambda module, args, out: out * 2)
    packed = nk.pack(model, inputs, forms="rows", remove=False)
    assert forms_of(packed) == {"0": "rows", "4": "rows"}
    assert nk.packing_of(packed)["2"].reason.startswith("it has hooks")
    assert far(model, packed, inputs) < 1e-5


def test_masks_of_torch_are_made_permanent_in_the_copy() -> None:
    model, inputs, _ = made("mlp")
    prune.l1_unstructured(model[2], "weight", 0.9)
    packed = nk.pack(model, inputs, forms="sparse")
    assert forms_of(packed) == {"2": "sparse"}
    assert "2.weight_orig" in model.state_dict()
    assert far(model, packed, inputs) < 1e-6
    assert nk.certify_packed(model, packed, inputs).holds


def test_a_weight_that_is_computed_stays_dense() -> None:
    model, inputs, _ = made("mlp")
    parametrizations.weight_norm(model[4])
    for layer in (model[0], model[2]):
        layer.weight.data[::2] = 0
    packing = nk.packing_of(nk.pack(model, inputs, forms="rows", remove=False))
    assert packing["4"].reason.startswith("its weight is computed from other tensors")
    assert set(packing.forms) == {"0", "2"}


def test_what_is_dead_beside_a_computed_weight_is_found() -> None:
    """Makers are listened to, whatever their weight is made of."""
    torch.manual_seed(0)
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 6), nn.ReLU())
    model.append(nn.Linear(6, 2))
    for silent in (model[0].parametrizations.weight.original0, model[0].bias, model[2].weight, model[2].bias):
        silent.data[1] = 0
    packed = nk.pack(model, torch.randn(5, 4), measure=False)
    assert packed[2].out_features == 5
    assert nk.certify_packed(model, packed, torch.randn(5, 4)).holds


def test_a_layer_that_is_not_called_stays_dense() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    model = Idle()
    for layer in (model.used, model.idle):
        layer.weight.data[1:] = 0
    packing = nk.packing_of(nk.pack(model, torch.randn(2, 4), forms="rows"))
    assert packing.forms == {"used": "rows"}
    assert packing["idle"].reason == "it was not called on the inputs given"


def test_attention_of_torch_keeps_its_projection() -> None:
    """Its forward pass reads ``out_proj.weight`` and never calls the layer; the encoder's fast path reads others."""
    torch.manual_seed(0)
    model, x = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.randn(2, 5, 8)
    with torch.no_grad():
        for p in (model.linear1.weight, model.linear2.weight, model.self_attn.out_proj.weight):
            p[::2] = 0
    packed = nk.pack(model, x, forms="rows", remove=False)
    assert "of which more than its forward pass may be used" in nk.packing_of(packed)["self_attn.out_proj"].reason
    assert forms_of(packed) == {"linear1": "rows", "linear2": "rows"}
    assert far(model, packed, x) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    model, inputs, others = masked("mlp", "patterned")
    model, inputs, others = model.to(dtype), inputs.to(dtype), others.to(dtype)
    for form in FORMS[1:]:
        packed = nk.pack(model, inputs, forms=form, remove=False)
        assert {t.dtype for t in answers(packed, inputs)} == {dtype}
        assert nk.certify_packed(model, packed, inputs, more=[others]).holds


def test_packed_layers_train_and_what_was_zero_stays_zero() -> None:
    """One step of SGD gives what it gives in the masked model, whose mask is then put on again."""
    model, inputs, _ = masked("mlp", "rows and columns")
    packed = nk.pack(model, inputs, forms={"0": "rows_columns", "2": "core_sparse", "4": "sparse"}, remove=False)
    masks = [m.weight != 0 for m in model if isinstance(m, nn.Linear)]
    for net in (model, packed):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        net(inputs).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        for layer, mask in zip(model[::2], masks, strict=True):
            layer.weight.mul_(mask)
        assert far(model, packed, inputs) < 1e-5
        for old, new in zip(model[::2], packed[::2], strict=True):
            assert torch.allclose(old.weight, new.weight, atol=1e-6)


def test_the_config_is_told_of_once_and_not_of_what_is_tried(caplog: pytest.LogCaptureFixture) -> None:
    """The trace tries deeper cuts of this model, since its forward pass reads values."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in
             (("layers", 1), ("attention_heads", 2), ("ffn_dim", 12))}  # fmt: skip
    ends = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
    config = transformers.BartConfig(vocab_size=20, d_model=8, max_position_embeddings=12, **sizes, **ends)
    model = transformers.BartForSequenceClassification(config).eval()
    for name, p in model.named_parameters():
        if ".fc1." in name:
            p.data[4:] = 0
    tokens = torch.tensor([[5, 7, 2]])
    packed = nk.pack(model, {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}, measure=False)
    assert {r.count for r in nk.packing_of(packed).removed} == {8}
    (said,) = [r.getMessage() for r in caplog.records if r.name == "niwaki"]
    assert said.startswith("BartForSequenceClassification: the config stays the dense model's. Saved by nk.save")


# -- bad input ---------------------------------------------------------------------------------------------------------


def wrong() -> Iterator[Any]:
    model, inputs, _ = masked("mlp", "rows")
    yield model, inputs, {"forms": {"*": "row_columns"}}, "no 'row_columns'; did you mean 'rows_columns'"
    yield model, inputs, {"forms": "diagonal"}, "Known: columns, core_sparse"
    yield model, inputs, {"forms": {"7": "rows"}}, "forms names '7', and no linear layer is called so"
    yield model, inputs, {"forms": ["rows"]}, r"forms must be one form for all layers \('dense', .* not \['rows'\]"
    yield model, inputs, {"forms": {"*": 3}}, "the table of forms has no '3'. Known: columns,"
    yield model, inputs, {"forms": {0: "rows"}}, "or a dict of forms by name or pattern"
    yield (
        model,
        inputs,
        {"threads": 0},
        "threads must be a whole number of at least 1, or None for torch's own, found 0",
    )
    yield model, inputs, {"margin": 1.5}, "from 0 to below 1; found 1.5"
    yield model, inputs, {"runs": 0}, "runs must be a whole number of at least 1, found 0"
    yield "model", inputs, {}, "expected a model"
    yield copy.deepcopy(model).to("meta"), inputs, {}, "tensors on the meta device, without values"
    yield model, 3, {}, "inputs must be a tensor, a tuple"


@pytest.mark.parametrize("case", range(12))
def test_bad_input_is_told(case: int) -> None:
    model, inputs, settings, text = list(wrong())[case]
    with pytest.raises(BadInput, match=text):
        nk.pack(model, inputs, **settings)


def test_a_model_that_cannot_be_called_is_told() -> None:
    model, _, _ = masked("mlp", "rows")
    with pytest.raises(UntraceableModel, match="Sequential could not be run on the inputs given"):
        nk.pack(model, torch.randn(2, 3))


def test_a_model_that_rolls_dice_is_told() -> None:
    class Dice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))  # which has its reasons

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + torch.randn(4)

    with pytest.raises(BadInput, match="does not give the same answer twice in eval mode"):
        nk.pack(Dice(), torch.randn(2, 4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_named(value: float) -> None:
    model, inputs, _ = masked("mlp", "rows")
    model[2].weight.data[0, :3] = value
    said = r"Sequential gives answers that are not finite, and '2\.weight' has 3 of \d+ values that are NaN or infinite"
    with pytest.raises(BadInput, match=said):
        nk.pack(model, inputs)


def test_inputs_that_are_no_numbers_are_told() -> None:
    model, inputs, _ = masked("mlp", "rows")
    model.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))  # of attention, say: no number is missing
    model.register_buffer("turns", torch.polar(torch.ones(3), torch.ones(3)))  # complex, of rotary positions
    with pytest.raises(BadInput, match="give inputs without values that are not finite"):
        nk.pack(model, inputs * float("nan"))


def test_a_packed_model_is_not_cut() -> None:
    model, inputs, _ = masked("mlp", "rows")
    plan = nk.plan(nk.trace(model, inputs))
    packed = nk.pack(model, inputs, forms="rows", remove=False)
    for act in (nk.cut, nk.mask):
        with pytest.raises(BadInput, match=r"Sequential is packed.* Mask and cut first, pack last"):
            act(packed, plan)


# -- networks of all sorts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "least"),
    [("experts", 1), ("grouped_transpose", 1), ("transformer_encoder_layer", 1), ("lstm_words", 1), ("fused_qkv", 0)],
)
def test_networks_of_the_zoo(name: str, least: int) -> None:
    """Rows and columns of zeros in everything: what is judged wrongly is given up, what is dead goes all the same."""
    plant = specimen(name)
    model, inputs = plant.build().eval(), plant.inputs()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for label, t in model.named_parameters():
            if t.dim() > 1 and "emb" not in label:
                for d in (0, 1):
                    shape = [n if k == d else 1 for k, n in enumerate(t.shape)]
                    t.mul_(torch.rand(shape, generator=generator) < 0.6)
    packed = nk.pack(model, inputs, forms="rows_columns")
    packing = nk.packing_of(packed)
    assert sum(r.count for r in packing.removed) >= least
    assert packing.forms
    assert far(model, packed, inputs) < 1e-5


def test_what_reads_a_unit_and_was_not_called_is_not_known() -> None:
    """Two readers, one of which these inputs do not reach: a constant of the unit cannot be given to it."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inn, self.often, self.rarely = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = F.gelu(self.inn(x))
            few = y[: int((x[:, 0] > 9).sum())]
            return self.often(y) + self.rarely(few).sum()

    torch.manual_seed(0)
    model = Two().eval()
    with torch.no_grad():
        model.inn.weight[:3] = 0
        model.inn.bias[0] = 0
        model.often.weight[:, 5] = 0
        model.rarely.weight[:, 5] = 0
    packed = nk.pack(model, torch.randn(5, 6), forms={})
    packing = nk.packing_of(packed)
    assert ([(r.unread, r.count) for r in packing.removed], packing.left) == ([(1, 1)], ())
    assert far(model, packed, torch.full((4, 6), 10.0)) < 1e-5


def test_layers_under_autocast_of_the_model_itself_are_timed() -> None:
    """Inside they are called with bfloat16; outside, their weights are float32."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return self.second(F.relu(self.first(x)))

    torch.manual_seed(0)
    model, x = Mixed().eval(), torch.randn(8, 16)
    model.second.weight.data[:, ::2] = 0
    packing = nk.packing_of(nk.pack(model, x, runs=1, remove=False))
    assert {"dense", "columns"} <= set(packing["second"].cost)


def test_rows_are_not_offered_where_none_is_empty() -> None:
    """Of a layer that keeps its weight as (inputs, outputs)."""
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    model = nn.Sequential(Conv1D(6, 8)).eval()
    model[0].weight.data[:4] = 0
    (candidate,) = candidates(model, torch.randn(3, 8))
    assert "rows" not in offered(candidate)
    assert "columns" in offered(candidate)
