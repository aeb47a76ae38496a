"""Pruning inside Lightning's Trainer: from any checkpoint, with its refusals. (That it makes what a plain loop makes is
a law: tests/laws/test_trainers.py.)"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import niwaki as nk
from niwaki.errors import BadInput

pl = pytest.importorskip("lightning.pytorch")

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*",
    "ignore:.*your dataloader is not resumable.*",
    "ignore:.*callbacks used to create the checkpoint need to be provided.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*exists and is not empty.*",
)
STEPS = 8
METHODS = {
    "greg1": nk.methods.greg1(nk.Ratio(0.5), grow=1.0, every=1, hold=2),
    "rewound": nk.methods.imp(0.5, rounds=2, steps=2, dense=1, rewind=1),
    "spur": nk.methods.spur(0.5, rounds=2, steps=2, alpha=1e-2, proximal=True),
}
X = torch.randn(2 * STEPS, 2, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


class Net(pl.LightningModule):
    """Two micro-batches to a step, which belong to the step: Lightning begins an epoch's data anew when it goes on."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, part: Tensor, index: int) -> Tensor:
        return self(X[2 * self.global_step + index % 2]).square().sum()

    def test_step(self, part: Tensor, index: int) -> None:
        self.tested = self(X[0])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.05)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


class ByHand(Net):
    """Manual optimization."""

    def __init__(self, optimizers: int = 1) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.many = optimizers

    def training_step(self, part: Tensor, index: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        for k in range(2):
            self.manual_backward(self(X[2 * self.global_step + k]).square().sum() / 2)
        self.clip_gradients(optimizer, 0.5, "norm")
        optimizer.step()
        self.lr_schedulers().step()

    def configure_optimizers(self) -> Any:
        if self.many > 1:
            return [torch.optim.SGD(self.net[k].parameters(), lr=0.1) for k in (0, 2)]
        return super().configure_optimizers()


def parts(count: int = 2 * STEPS) -> Any:
    return torch.utils.data.DataLoader(range(count), batch_size=None)  # type: ignore[arg-type]


def trainer(folder: Path, callback: Any, *more: Any, **settings: Any) -> Any:
    options = {
        "max_steps": STEPS,
        "accelerator": "cpu",
        "devices": 1,
        "accumulate_grad_batches": 2,
        "gradient_clip_val": 0.5,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "default_root_dir": str(folder),
        **settings,
    }
    return pl.Trainer(callbacks=[callback, *more], **options)


def pruning(name: str = "greg1", **more: Any) -> nk.LightningPruning:
    return nk.LightningPruning(METHODS[name], torch.ones(2, 4), **more)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.parametrize("name", METHODS)
def test_it_goes_on_from_any_checkpoint_bit_for_bit(tmp_path: Path, name: str) -> None:
    every = pl.callbacks.ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=1)
    whole, callback = Net(), pruning(name)
    trainer(tmp_path, callback, every, enable_checkpointing=True).fit(whole, parts())
    assert callback.run is not None
    assert callback.run.finished
    assert (whole.net[0].out_features == 3) == (name == "greg1")
    stops = range(1, STEPS + 1) if name == "greg1" else (1, 2, 3, 5)
    for stop in stops:  # while it presses, right at the cut, and after it
        again = Net(seed=1)
        resumed = pruning(name)
        trainer(tmp_path, resumed).fit(again, parts(), ckpt_path=str(tmp_path / f"step={stop}.ckpt"))
        assert differing(weights(whole), weights(again)) == [], stop
        assert resumed.run is not None
        assert resumed.run.steps == STEPS


def test_a_cut_module_is_tested_from_its_checkpoint(tmp_path: Path) -> None:
    last = pl.callbacks.ModelCheckpoint(tmp_path, "last")
    whole = Net()
    trainer(tmp_path, pruning(), last, enable_checkpointing=True).fit(whole, parts())
    again = Net(seed=1)
    trainer(tmp_path, pruning()).test(again, parts(1), ckpt_path=str(tmp_path / "last.ckpt"), verbose=False)
    assert torch.equal(again.tested, whole(X[0]))
    assert again.net[0].out_features == 3


def test_a_checkpoint_from_before_the_cut_does_not_fit_what_is_left(tmp_path: Path) -> None:
    every = pl.callbacks.ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=1)
    module, callback = Net(), pruning()
    work = trainer(tmp_path, callback, every, enable_checkpointing=True)
    work.fit(module, parts())
    with pytest.raises(BadInput, match="was written before the module was cut; load it into a fresh, dense one"):
        trainer(tmp_path, callback).fit(module, parts(), ckpt_path=str(tmp_path / "step=1.ckpt"))


def test_a_checkpoint_without_a_state_is_told(tmp_path: Path) -> None:
    last = pl.callbacks.ModelCheckpoint(tmp_path, "last")
    trainer(tmp_path, pl.Callback(), last, enable_checkpointing=True).fit(Net(), parts())
    with pytest.raises(BadInput, match="has no state of greg1: it was written without this callback"):
        trainer(tmp_path, pruning()).fit(Net(), parts(), ckpt_path=str(tmp_path / "last.ckpt"))


@pytest.mark.parametrize("stage", ["fit", "test"])
@pytest.mark.parametrize("cut", [True, False])
def test_weights_without_a_state_are_told(tmp_path: Path, stage: str, cut: bool) -> None:
    last = pl.callbacks.ModelCheckpoint(tmp_path, "last", save_weights_only=True)
    callback = pruning() if cut else pl.Callback()
    trainer(tmp_path, callback, last, enable_checkpointing=True).fit(Net(), parts())
    told = "'net.0.bias' has shape .*3.*, the module's .*6.*: save_weights_only=True leaves it out. .*nk.load"
    told = told if cut else "has no state of greg1: save_weights_only=True leaves it out"
    act = getattr(trainer(tmp_path, pruning()), stage)
    more = {"verbose": False} if stage == "test" else {}
    with pytest.raises(BadInput, match=told) if cut or stage == "fit" else nullcontext():
        act(Net(), parts(1), ckpt_path=str(tmp_path / "last.ckpt"), **more)


def test_mixed_precision_and_a_part_of_the_module(tmp_path: Path) -> None:
    module, callback = Net(), pruning(module="net")
    trainer(tmp_path, callback, precision="bf16-mixed").fit(module, parts())
    assert module.net[0].weight.shape == (3, 4)
    assert nk.plan_of(module.net) is not None
    assert callback.run is not None
    assert callback.run.model is module.net


def test_an_average_in_the_module_follows(tmp_path: Path) -> None:
    class Averaged(Net):
        def __init__(self) -> None:
            super().__init__()
            self.ema = AveragedModel(self.net, multi_avg_fn=get_ema_multi_avg_fn(0.5))

        def on_train_batch_end(self, *_: Any) -> None:
            self.ema.update_parameters(self.net)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.net.parameters(), lr=0.1)

    module = Averaged()
    trainer(tmp_path, pruning(module="net", ema=module.ema)).fit(module, parts())
    assert module.ema.module[0].weight.shape == (3, 4)
    assert int(module.ema.n_averaged) == 2 * STEPS


def test_manual_optimization_with_one_optimizer_is_the_same(tmp_path: Path) -> None:
    one, other = Net(), ByHand()
    trainer(tmp_path, pruning()).fit(one, parts())
    trainer(tmp_path, pruning(), accumulate_grad_batches=1, gradient_clip_val=None).fit(other, parts(STEPS))
    assert differing(weights(one), weights(other)) == []
    assert one.net[0].out_features == 3


def test_a_second_fit_goes_on_with_what_is_pruned(tmp_path: Path) -> None:
    module, callback = Net(), pruning()
    trainer(tmp_path, callback).fit(module, parts())
    run, before = callback.run, weights(module)
    trainer(tmp_path, callback, max_steps=2).fit(module, parts())
    assert callback.run is run
    assert module.net[0].out_features == 3
    assert differing(before, weights(module)) != []


def test_a_trial_run_of_one_batch_may_be_shorter_than_the_method(tmp_path: Path) -> None:
    callback = pruning()
    trainer(tmp_path, callback, max_steps=-1, accumulate_grad_batches=1, fast_dev_run=True).fit(Net(), parts())
    assert callback.run is not None
    assert callback.run.steps == 1


class Tunable(Net):
    def __init__(self) -> None:
        super().__init__()
        self.lr, self.batch_size = 0.05, 2

    def training_step(self, part: Tensor, index: int) -> Tensor:
        return self(X[0]).square().sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(range(64), batch_size=self.batch_size)  # type: ignore[arg-type]


def lr_finder(work: Any, module: Tunable) -> None:
    pl.tuner.Tuner(work).lr_find(module, num_training=5, update_attr=False)


def batch_finder(work: Any, module: Tunable) -> None:
    pl.tuner.Tuner(work).scale_batch_size(module, max_trials=2, steps_per_trial=1)


def finder_after(work: Any, module: Tunable) -> None:
    work.callbacks.append(pl.callbacks.LearningRateFinder(num_training_steps=5, update_attr=False))


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("tune", [lr_finder, batch_finder, finder_after])
def test_a_tuner_runs_without_the_method(tmp_path: Path, tune: Any) -> None:
    module, callback = Tunable(), pruning()
    before = weights(module)
    work = trainer(tmp_path, callback, accumulate_grad_batches=1)
    tune(work, module)
    assert differing(before, weights(module)) == []
    work.fit(module)
    assert callback.run is not None
    assert (callback.run.finished, callback.run.steps, work.global_step) == (True, STEPS, STEPS)
    assert module.net[0].out_features == 3


@pytest.mark.filterwarnings("ignore:.*")
def test_penalties_are_added_to_unscaled_gradients_in_manual_optimization(tmp_path: Path) -> None:
    """A fused optimizer unscales them itself, in its step."""

    class Fused(ByHand):
        def training_step(self, part: Tensor, index: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self(X[index]).square().sum())
            optimizer.step()

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=0.05, fused=True)

    ends = []
    for scale in (1.0, 2.0**16):
        module = Fused()
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        precision = pl.plugins.MixedPrecision("16-mixed", "cpu", scaler)
        precision.autocast_context_manager = lambda: torch.autocast("cpu", enabled=False)
        off = {"accumulate_grad_batches": 1, "gradient_clip_val": None, "plugins": [precision]}
        trainer(tmp_path, pruning(), **off).fit(module, parts(STEPS))
        ends.append(weights(module))
    assert differing(*ends) == []


def test_hooks_of_the_module_are_as_they_were(tmp_path: Path) -> None:
    module = Net()
    module.optimizer_step = own = module.optimizer_step  # one that the user has put on the object
    trainer(tmp_path, pruning()).fit(module, parts())
    assert vars(module)["optimizer_step"] is own
    assert "on_load_checkpoint" not in vars(module)
    assert "configure_gradient_clipping" not in vars(module)

    class Failing(Net):
        def on_train_start(self) -> None:
            raise RuntimeError("enough")

    failing = Failing()
    with pytest.raises(RuntimeError, match="enough"):
        trainer(tmp_path, pruning()).fit(failing, parts())
    assert "configure_gradient_clipping" not in vars(failing)


# -- refused ------------------------------------------------------------------------------------------------------


def test_several_optimizers_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"the module has 2 optimizers.*run\.before_step\(\)"):
        trainer(tmp_path, pruning(), accumulate_grad_batches=1, gradient_clip_val=None).fit(ByHand(2), parts())


def test_callbacks_that_average_are_refused(tmp_path: Path) -> None:
    swa = pl.callbacks.StochasticWeightAveraging(swa_lrs=0.1)
    with pytest.raises(BadInput, match="StochasticWeightAveraging keeps a copy of the model that would be neither"):
        trainer(tmp_path, pruning(), swa).fit(Net(), parts())


def test_too_few_steps_are_told_before_any_is_spent(tmp_path: Path) -> None:
    module = Net()
    before = weights(module)
    with pytest.raises(BadInput, match=r"greg1 takes 4 steps of the optimizer, and the Trainer would make 2: raise"):
        trainer(tmp_path, pruning(), max_steps=2).fit(module, parts())
    assert differing(before, weights(module)) == []


def test_what_is_no_method_and_no_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"method must come from nk.methods, not str"):
        nk.LightningPruning("imp", X)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="Net has no module 'body' to prune"):
        trainer(tmp_path, pruning(module="body")).fit(Net(), parts())


def test_the_old_name_of_the_package_does_as_well() -> None:
    pytest.importorskip("pytorch_lightning")
    code = """
import warnings; warnings.simplefilter("ignore")
import pytorch_lightning as pl, torch
assert "lightning.pytorch" not in __import__("sys").modules
import niwaki as nk
class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
    def training_step(self, batch, index):
        return self.net(batch).square().sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
method = nk.methods.greg1(nk.Ratio(0.5), grow=1.0, every=1, hold=1)
callback = nk.LightningPruning(method, torch.ones(2, 4), module="net")
assert isinstance(callback, pl.Callback)
off = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
module = Net()
data = torch.utils.data.DataLoader(torch.ones(16, 4), 2)
pl.Trainer(accelerator="cpu", max_steps=6, callbacks=[callback], **off).fit(module, data)
assert module.net[0].out_features == 3
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
