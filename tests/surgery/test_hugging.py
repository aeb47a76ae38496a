"""The config of a Hugging Face model follows the cut where it can say it, and never says what is not so."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import niwaki as nk
from niwaki.errors import StalePlan
from niwaki.graph.observe import tensors_of
from niwaki.surgery.hugging import follow_config
from niwaki.surgery.hugging.facts import read_from_config, read_from_modules
from niwaki.surgery.hugging.fields import Field, changed, is_layered, overrides, value_of
from niwaki.testing.families import family
from niwaki.units import Axis, Plan

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@cache
def traced(name: str) -> tuple[nn.Module, Any, Any]:
    """Model, inputs and graph of a family; the groups are not proven, which takes the most time."""
    model, inputs = family(name).build(), family(name).inputs()
    return model, inputs, nk.trace(model, inputs, prove=False)


def plan_for(name: str, words: str) -> Plan:
    """Half of every group of these kinds, or of these names; the pooler of a BERT is not the width of its config."""
    graph = traced(name)[2]
    wanted = words.split()
    groups = [
        g for g in graph.groups if "pooler" not in g.name and (g.kind in wanted or any(w in g.name for w in wanted))
    ]
    return nk.plan(graph, target=nk.Ratio(0.5), groups=groups)


def cut(name: str, words: str) -> nn.Module:
    return nk.cut(traced(name)[0], plan_for(name, words))


def answers(model: nn.Module, inputs: dict[str, Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return [t for t in tensors_of(model(**inputs), caches=False) if t.is_floating_point()]


def same(left: nn.Module, right: nn.Module, inputs: dict[str, Tensor]) -> bool:
    pairs = zip(answers(left, inputs), answers(right, inputs), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


FOLLOWING = {
    ("bert", "neuron"): {"intermediate_size"},
    ("vit", "neuron"): {"intermediate_size"},
    ("llama", "neuron"): {"intermediate_size"},
    ("llama", "hidden"): {"hidden_size"},
    ("llama", "neuron hidden"): {"intermediate_size", "hidden_size"},
    ("gpt2", "neuron"): {"n_inner"},
    ("t5", "neuron"): {"d_ff"},
    ("bart", "neuron"): {"encoder_ffn_dim", "decoder_ffn_dim"},
    ("clip", "neuron"): {"text_config", "vision_config"},
    ("mixtral", "mlp.gate"): {"num_local_experts"},
}


NOTED = ("architectures", "dtype", "transformers_version", "_name_or_path", "quantization_config")


def fields_of(config: Any) -> dict[str, Any]:
    return {k: v for k, v in config.to_dict().items() if k not in NOTED}


@pytest.mark.parametrize(("name", "words"), FOLLOWING)
def test_stock_code_loads_what_was_saved(name: str, words: str, tmp_path: Path) -> None:
    model, inputs, _ = traced(name)
    before = copy.deepcopy(model.config.to_dict())
    small = cut(name, words)
    assert model.config.to_dict() == before
    assert all(m.config is not n.config for m, n in zip(model.modules(), small.modules(), strict=True) if holds(m))
    old, new = fields_of(model.config), fields_of(small.config)
    assert {k for k in new if new[k] != old[k]} == FOLLOWING[name, words]
    assert not hasattr(small.config, "quantization_config")  # so that code without niwaki reads it
    small.save_pretrained(tmp_path)
    back = type(small).from_pretrained(tmp_path)
    assert same(small, back, inputs)
    assert list(back.state_dict()) == list(model.state_dict())


def holds(module: nn.Module) -> bool:
    return hasattr(getattr(module, "config", None), "to_dict")


def test_heads_follow_in_whole_groups(tmp_path: Path) -> None:
    """Heads of which one number tells, and key-value heads with the query heads that read them."""
    model, inputs, graph = traced("llama")
    for kind in ("head", "kv_group"):
        groups = [g for g in graph.groups if g.kind == kind]
        if not groups:
            continue
        small = nk.cut(model, nk.plan(graph, target=nk.Ratio(0.5), groups=groups))
        assert small.config.num_attention_heads == 2
        small.save_pretrained(tmp_path / kind)
        assert same(small, transformers.LlamaForCausalLM.from_pretrained(tmp_path / kind), inputs)


SCRIPT = """
import sys
import torch, transformers
from safetensors.torch import load_file
for kind, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    known = load_file(folder + ".known")
    wanted = known.pop("wanted")
    with torch.no_grad():
        assert torch.equal(model(**known).logits, wanted), folder
assert "niwaki" not in sys.modules
print("same")
"""


def test_stock_code_loads_it_in_a_process_that_never_heard_of_us(tmp_path: Path) -> None:
    words = []
    for name, kind in (
        ("bert", "AutoModelForSequenceClassification"),
        ("vit", "AutoModelForImageClassification"),
        ("llama", "AutoModelForCausalLM"),
    ):
        small, inputs = cut(name, "neuron"), traced(name)[1]
        small.save_pretrained(tmp_path / name)
        save_file({**inputs, "wanted": answers(small, inputs)[0]}, str(tmp_path / f"{name}.known"))
        words += [kind, str(tmp_path / name)]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], check=False, capture_output=True, text=True)
    assert done.stdout.endswith("same\n"), done.stderr


@pytest.mark.parametrize(
    ("name", "words", "why"),
    [
        ("bert", "attention.self", "'bert.encoder.layer.0.attention.self.query.weight' would have"),
        ("vit", "head_dim", "attention.scaling would be 0.5, and it is 0.35"),
        ("llama", "head_dim", "inv_freq"),
    ],
)
def test_what_no_config_can_say_is_left_alone_and_told(
    name: str, words: str, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small, (model, inputs, _) = cut(name, words), traced(name)
    assert fields_of(small.config) == fields_of(model.config)
    assert "the config stays the dense model's" in caplog.text
    assert why in caplog.text
    assert "nk.save" in caplog.text
    small.save_pretrained(tmp_path)
    again = type(small).from_pretrained(tmp_path)  # by what the config says beside its fields
    assert torch.equal(answers(again, inputs)[0], answers(small, inputs)[0])


layered = pytest.mark.skipif(
    not hasattr(transformers.PretrainedConfig, "per_layer_config"), reason="this transformers has no per_layer_config"
)


@layered
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_layers_of_different_sizes_are_told_one_by_one(name: str, tmp_path: Path) -> None:
    model, inputs, graph = traced(name)
    groups = [g for g in graph.groups if g.kind == "neuron" and len(g) == 40]
    plan = nk.plan(graph, target=nk.Ratio(0.5), groups=groups[:1])
    receipt = nk.cut_(small := copy.deepcopy(model), plan)
    assert receipt.config.fields == {"per_layer_config[0].intermediate_size": (40, 20)}
    assert "the config tells per_layer_config.intermediate_size 40 → 20; stock code does not build" in str(receipt)
    assert [c.intermediate_size for c in small.config.per_layer_config] == [20, 40]
    assert small.config.intermediate_size == 40  # who asks for one number gets the dense model's, and a warning
    nk.save(small, tmp_path)
    config = type(model.config).from_pretrained(tmp_path)
    assert [c.intermediate_size for c in config.per_layer_config] == [20, 40]
    back = nk.load(tmp_path, lambda: type(model)(config).eval())
    assert same(back, small, inputs)
    assert [c.intermediate_size for c in back.config.per_layer_config] == [20, 40]
    whole = nk.cut(small, nk.plan(nk.trace(small, inputs, prove=False), target=nk.Ratio(0.5), groups=[groups[1].name]))
    assert not whole.config.per_layer_attributes  # all layers are alike again
    assert whole.config.intermediate_size == 20


@layered
def test_a_class_that_reads_what_is_said_of_each_layer_is_built_from_it(tmp_path: Path) -> None:
    """Step 3.7 asks its config for the heads of each layer, and has more of them in layers of sliding attention."""
    family_of = pytest.importorskip("transformers.models.step3p7.modeling_step3p7")
    from transformers.models.step3p7.configuration_step3p7 import Step3p7TextConfig

    config = Step3p7TextConfig(
        vocab_size=37,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_sliding_attention_heads=8,
        head_dim=8,
        mlp_layer_types=["dense"] * 3,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
        sliding_window=8,
        max_position_embeddings=32,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model, inputs = family_of.Step3p7TextModel(config).eval(), {"input_ids": torch.arange(3, 10)[None]}
    graph = nk.trace(model, inputs, prove=False)
    groups = [g for g in graph.groups if g.kind == "kv_group"]
    small = nk.cut(model, nk.plan(graph, target=nk.Ratio(0.5), groups=groups[:2]))
    found = [(c.num_attention_heads, c.num_key_value_heads) for c in small.config.per_layer_config]
    assert found == [(2, 1), (4, 1), (4, 2)]
    small.save_pretrained(tmp_path)
    assert same(small, type(small).from_pretrained(tmp_path).eval(), inputs)
    everywhere = nk.cut(model, nk.plan(graph, target=nk.Ratio(0.5), groups=groups))
    found = [(c.num_attention_heads, c.num_key_value_heads) for c in everywhere.config.per_layer_config]
    assert found == [(2, 1), (4, 1), (2, 1)]
    everywhere.save_pretrained(tmp_path / "all")
    assert same(everywhere, type(small).from_pretrained(tmp_path / "all").eval(), inputs)


@layered
def test_layers_are_told_only_where_all_else_is_as_it_was() -> None:
    """The width of the whole model changed too: of such a config nobody builds the dense model, nor the cut one."""
    graph = traced("llama")[2]
    groups = [g for g in graph.groups if g.kind == "hidden" or g.name == "model.layers.0.mlp.gate_proj"]
    small = nk.cut(traced("llama")[0], nk.plan(graph, target=nk.Ratio(0.5), groups=groups))
    assert fields_of(small.config) == fields_of(traced("llama")[0].config)


@pytest.mark.parametrize(("name", "words"), [("llama", "neuron"), ("llama", "head_dim"), ("bert", "hidden neuron")])
def test_our_folder_holds_all_that_is_needed(name: str, words: str, tmp_path: Path) -> None:
    model, inputs, _ = traced(name)
    small = cut(name, words)
    nk.save(small, tmp_path)
    files = {"config.json", "load.py", "model.safetensors", "modules.json", "plan.json"}
    assert {p.name for p in tmp_path.iterdir()} == files | ({"generation_config.json"} if name == "llama" else set())
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["architectures"] == [type(small).__name__]
    assert same(nk.load(tmp_path, model), small, inputs)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    back = nk.load(tmp_path, lambda: type(model)(config).eval())
    assert same(back, small, inputs)
    assert nk.plan_of(back) == nk.plan_of(small)
    assert fields_of(back.config) == fields_of(small.config)


def test_a_cut_model_in_place_of_the_dense_one_is_refused(tmp_path: Path) -> None:
    """Same sizes, other frequencies: only a model built from the config that followed has nothing of its own."""
    small = cut("llama", "head_dim")
    nk.save(small, tmp_path)
    with pytest.raises(StalePlan, match="cut already"):
        nk.load(tmp_path, small)


def test_a_second_cut_follows_too(tmp_path: Path) -> None:
    model, inputs, _ = traced("bert")
    once = cut("bert", "neuron")
    graph = nk.trace(once, inputs, prove=False)
    twice = nk.cut(once, nk.plan(graph, target=nk.Ratio(0.5), groups=[g for g in graph.groups if len(g) == 20]))
    assert (model.config.intermediate_size, once.config.intermediate_size) == (40, 20)
    assert twice.config.intermediate_size == 10
    nk.save(twice, tmp_path)
    assert same(nk.load(tmp_path, model), twice, inputs)
    assert nk.load(tmp_path, model).config.intermediate_size == 10


def test_two_steps_of_which_only_both_are_even() -> None:
    model = traced("bert")[0]
    half = nk.cut(model, plan_for("bert", "layer.0.intermediate"))
    assert half.config.intermediate_size == 40
    second = plan_for("bert", "layer.1.intermediate")
    removed = {axis: gone for axis, gone in second.removed.items() if "layer.1" in axis.name}
    whole = nk.cut(half, Plan({n: tuple(t.shape) for n, t in named(half)}, removed))
    assert whole.config.intermediate_size == 20


def named(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def test_on_request_the_config_stays() -> None:
    model, plan = traced("bert")[0], plan_for("bert", "neuron")
    assert nk.cut(model, plan, config=False).config.intermediate_size == 40


def test_the_receipt_tells() -> None:
    even, uneven = copy.deepcopy(traced("bert")[0]), copy.deepcopy(traced("bert")[0])
    receipt = nk.cut_(even, plan_for("bert", "neuron"))
    assert receipt.config.follows
    assert receipt.config.fields == {"intermediate_size": (40, 20)}
    assert str(receipt).endswith("; the config follows: intermediate_size 40 → 20")
    receipt = nk.cut_(uneven, plan_for("bert", "attention.self"))
    assert not receipt.config.follows
    assert "stays the dense model's" in str(receipt)


def test_random_numbers_go_on_as_if_no_model_had_been_built() -> None:
    small = nk.cut(traced("t5")[0], plan_for("t5", "neuron"), config=False)
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    assert follow_config(small, [plan_for("t5", "neuron")]).follows
    assert torch.equal(torch.rand(4), wanted)


# -- the mechanism, on classes of our own -----------------------------------------------------------------------------


class Settings:
    """The least that is taken for a config."""

    def __init__(self, **values: Any) -> None:
        vars(self).update({"width": 6, "deep": 8, "layers": 2, "bias": 6, **values})

    def to_dict(self) -> dict[str, Any]:
        return copy.deepcopy(vars(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        return cls(**values)


class Own(nn.Module):
    """A model of such a config."""

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(nn.Linear(3, config.deep) for _ in range(config.layers))
        self.outs = nn.ModuleList(nn.Linear(config.deep, 2) for _ in range(config.layers))
        self.gain = 1.0

    def save_pretrained(self, folder: Path) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return sum(out(block(x).relu()) for block, out in zip(self.blocks, self.outs, strict=True)) * self.gain


class Reading(Own):
    """Computes with a number of its config."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / self.config.deep


class Noting(Own):
    """Keeps a number that is computed from a size."""

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.gain = config.deep**-0.5


class Noted(Noting):
    """Keeps such a number, and nobody reads it."""

    def forward(self, x: Tensor) -> Tensor:
        return sum(out(block(x).relu()) for block, out in zip(self.blocks, self.outs, strict=True))


class Tabled(Own):
    """Keeps a table that is not saved."""

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.register_buffer("table", torch.tensor(1.0 / config.deep), persistent=False)


def shrunk(model: nn.Module, *counts: int) -> Plan:
    """The last entries of every block go, so that these many stay."""
    removed = {}
    for k, left in enumerate(counts):
        gone = tuple(range(left, 8))
        removed |= {Axis(f"blocks.{k}.weight", 0): gone, Axis(f"blocks.{k}.bias", 0): gone}
        removed |= {Axis(f"outs.{k}.weight", 1): gone}
    return Plan({name: tuple(t.shape) for name, t in named(model)}, removed)


def test_a_field_is_found_by_what_it_does() -> None:
    config = Settings()
    model, other = Own(config), Own(config)
    receipt = nk.cut_(model, shrunk(model, 5, 5))
    assert receipt.config.fields == {"deep": (8, 5)}
    assert vars(model.config) == {"width": 6, "deep": 5, "layers": 2, "bias": 6}
    assert other.config is config
    assert config.deep == 8


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Reading, "config.deep would be 5, and it is 8"),
        (Noting, "gain would be 0.44"),
        (Tabled, "'table' would be computed to other values, and it is not saved"),
    ],
)
def test_what_a_built_model_would_compute_otherwise_keeps_the_config_as_it_is(kind: type[Own], why: str) -> None:
    model = kind(Settings())
    receipt = nk.cut_(model, shrunk(model, 5, 5))
    assert why in receipt.config.reason
    assert model.config.deep == 8


def test_a_note_that_no_code_reads_is_no_reason() -> None:
    model = Noted(Settings())
    assert "gain" not in read_from_modules(nn.Linear)
    assert nk.cut_(model, shrunk(model, 5, 5)).config.reason.startswith("in a model")  # other code of the file reads it


def test_what_the_user_set_by_hand_is_no_reason() -> None:
    model = Own(Settings())
    model.gain = 3.0
    assert nk.cut_(model, shrunk(model, 5, 5)).config.follows
    assert model.gain == 3.0


def test_uneven_layers_are_told() -> None:
    model = Own(Settings())
    receipt = nk.cut_(model, shrunk(model, 5, 4))
    assert (
        receipt.config.reason == "'blocks.1.weight' has shape (4, 3) now, and 'blocks.0.weight' (5, 3); both had (8, 3)"
    )


def test_a_model_that_its_config_does_not_describe_is_told() -> None:
    model = Own(Settings())
    model.config = Settings(deep=9)
    receipt = nk.cut_(model, shrunk(model, 5, 5))
    assert "was not what its config says before the cut" in receipt.config.reason
    model = Own(Settings())
    model.config.layers = "many"
    assert "Own(config) cannot be built" in nk.cut_(model, shrunk(model, 5, 5)).config.reason


def test_a_model_without_a_config_has_nothing_to_follow() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))
    plan = nk.plan(nk.trace(model, torch.ones(1, 3)))
    assert nk.cut_(model, plan).config is None


def test_what_methods_read_from_a_config() -> None:
    assert "deep" in read_from_config(Reading)
    assert not read_from_config(Own)


def test_a_number_in_a_list_is_told_of_a_layer_in_its_list() -> None:
    """The list is not replaced by the one number."""
    config = transformers.LlamaConfig(num_hidden_layers=2)
    if not is_layered(config):
        pytest.skip("this transformers says nothing of single layers")
    config.sizes = [4, 8]
    first, second = (Field((), "sizes", k, layer=0) for k in (0, 1))
    fresh = changed(config, {first: 2, second: 3})
    assert overrides(fresh, ()) == {0: {"sizes": [2, 3]}}
    assert (value_of(fresh, second), value_of(fresh, Field((), "sizes", 1, layer=1))) == (3, 8)
