"""A folder loads without niwaki: by the short file that lies in it."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import niwaki as nk
from niwaki.surgery.modules import table
from niwaki.testing.zoo import Specimen
from tests.laws.table import every_specimen, traced
from tests.surgery.asking import answer

OURS = {"CutMultiheadAttention"}


def loader(folder: Path) -> Any:
    """What the file in a folder defines, with niwaki out of reach."""
    space: dict[str, Any] = {"__name__": "load", "__file__": str(folder / "load.py")}
    text = (folder / "load.py").read_text()
    assert "import niwaki" not in text
    assert "from niwaki" not in text
    exec(compile(text, "load.py", "exec"), space)
    return space["load"]


@every_specimen
def test_it_loads_what_niwaki_loads(plant: Specimen, tmp_path: Path) -> None:
    graph = traced(plant)
    inputs = plant.inputs()
    small = nk.cut(graph.model, nk.plan(graph, nk.scores.L1(), nk.Ratio(0.4)))
    nk.save(small, tmp_path)
    ours = any(type(m).__name__ in OURS for m in small.modules())
    assert (tmp_path / "load.py").is_file() != ours
    if ours:
        return
    torch.manual_seed(7)
    found = loader(tmp_path)(plant.build(), tmp_path)
    assert {n: p.shape for n, p in found.named_parameters()} == {n: p.shape for n, p in small.named_parameters()}
    for wanted, given in zip(answer(small, inputs), answer(found, inputs), strict=True):
        assert torch.equal(wanted, given) if isinstance(wanted, torch.Tensor) else wanted == given
    for name, module in small.named_modules():
        numbers = {k: v for k, v in vars(module).items() if type(v) is int and not k.startswith("_")}
        assert {k: vars(found.get_submodule(name))[k] for k in numbers} == numbers


MLP = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def test_in_a_process_that_has_no_niwaki(tmp_path: Path) -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    small = nk.cut(MLP, nk.plan(nk.trace(MLP, x)))
    nk.save(small, tmp_path)
    code = f"""
import sys
sys.modules["niwaki"] = None
sys.path.insert(0, {str(tmp_path)!r})
import torch
from torch import nn
from load import load
model = load(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
print(model(torch.randn(3, 4, generator=torch.Generator().manual_seed(0))).sum().item(), model[0].out_features)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    total, width = done.stdout.split()
    assert float(total) == pytest.approx(small(x).sum().item())
    assert int(width) == 4


def test_another_network_is_refused(tmp_path: Path) -> None:
    nk.save(nk.cut(MLP, nk.plan(nk.trace(MLP, torch.ones(1, 4)))), tmp_path)
    with pytest.raises(ValueError, match=r"0\.weight has shape \[9, 4\], the network that was pruned had \[8, 4\]"):
        loader(tmp_path)(nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 2)), tmp_path)


def test_a_shard_that_is_missing_is_told(tmp_path: Path) -> None:
    small = nk.cut(MLP, nk.plan(nk.trace(MLP, torch.ones(1, 4))))
    nk.save(small, tmp_path, shard_bytes=64)
    (tmp_path / "model-old.safetensors").write_bytes(b"no such thing")
    found = loader(tmp_path)(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), tmp_path)
    assert torch.equal(found(torch.ones(1, 4)), small(torch.ones(1, 4)))
    min(tmp_path.glob("model-0*")).unlink()
    with pytest.raises(FileNotFoundError, match="model-00001-of"):
        loader(tmp_path)(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), tmp_path)


def test_a_file_that_lacks_a_tensor_is_told(tmp_path: Path) -> None:
    nk.save(nk.cut(MLP, nk.plan(nk.trace(MLP, torch.ones(1, 4)))), tmp_path)
    left = load_file(tmp_path / "model.safetensors")
    del left["2.weight"]
    save_file(left, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"2\.weight is in none of model\.safetensors"):
        loader(tmp_path)(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), tmp_path)


class Twice(nn.Module):
    """One module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
        self.n = self.m

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.n(self.m(x))


def test_a_module_of_two_names(tmp_path: Path) -> None:
    model, x = Twice().eval(), torch.ones(1, 4)
    small = nk.cut(model, nk.plan(nk.trace(model, x)))
    nk.save(small, tmp_path)
    found = loader(tmp_path)(Twice(), tmp_path)
    assert torch.equal(found(x), small(x))
    assert found.n[0].out_features == 4


def test_it_is_short() -> None:
    from niwaki.surgery import alone

    lines = [line for line in Path(alone.__file__).read_text().splitlines() if line.strip()]
    assert len(lines) <= 48


def test_what_computes_by_our_code_has_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And an older loader in the folder goes."""
    (tmp_path / "load.py").write_text("old")
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight[:5] = 0
        model[0].bias[:5] = 0
    packed = nk.pack(model, torch.ones(2, 4), forms={"*": "rows"})
    with caplog.at_level(logging.INFO, "niwaki"):
        nk.save(packed, tmp_path)
    bound = any(type(m).__name__ == "PackedLinear" for m in packed.modules())
    assert (tmp_path / "load.py").is_file() != bound
    assert ("computes by niwaki's code" in caplog.text) == bound


class Tabled(nn.Linear):
    """Keeps its width in a list."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)
        self.widths = [width]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.view(-1, *self.widths))


def test_what_follows_by_an_adapter_of_the_users_own_has_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may set anything: here, what is no whole number."""
    monkeypatch.setattr(table, "ADAPTERS", dict(table.ADAPTERS))

    @nk.adapter(Tabled)
    def tabled(module: Any, change: Any) -> None:
        module.widths = [module.weight.shape[1]]

    model = nn.Sequential(nn.Linear(4, 8), Tabled(8), nn.Linear(8, 2))
    with caplog.at_level(logging.INFO, "niwaki"):
        nk.save(nk.cut(model, nk.plan(nk.trace(model, torch.ones(2, 4)))), tmp_path)
    assert not (tmp_path / "load.py").exists()
    assert "1 follows a cut by an adapter of your own. Load it with nk.load" in caplog.text


class Listing(nn.Module):
    """Reads a weight from a list."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8, bias=False), nn.Linear(8, 2)
        self.weights = [self.a.weight]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(nn.functional.linear(x, self.weights[0]).relu())


def test_what_holds_a_weight_in_a_list_has_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, x = Listing().eval(), torch.ones(2, 4)
    small = nk.cut(model, nk.plan(nk.trace(model, x)))
    with caplog.at_level(logging.INFO, "niwaki"):
        nk.save(small, tmp_path)
    assert not (tmp_path / "load.py").exists()
    assert "weights holds a tensor beside the parameters" in caplog.text
    assert torch.equal(nk.load(tmp_path, Listing())(x), small(x))
