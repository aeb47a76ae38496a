"""The law of trainers: every method that takes time, in every trainer, in pairs with how one trains."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch

import niwaki as nk
from niwaki.testing import laws
from niwaki.testing.laws import Circumstances, LawBroken
from niwaki.testing.zoo import specimen
from niwaki.train import engine
from niwaki.train.averages import Average
from tests.laws.table import METHODS, OPTIMIZERS, work

pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytest.importorskip("lightning")
hugging = pytest.importorskip("niwaki.train.hugging")
LightningPruning = pytest.importorskip("niwaki.train.lightning").LightningPruning

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*pin_memory.*",
    "ignore:.*LeafSpec.*",
    "ignore:.*num_workers.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*lr_scheduler.step.*before.*optimizer.step.*",
    "ignore:.*logging interval.*",
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


CIRCUMSTANCES = {
    "plain": Circumstances(),
    "clipped": Circumstances(clip=0.05, accumulate=2, optimizer=OPTIMIZERS["adamw"]),
    "bfloat16": Circumstances(bfloat16=True, clip=0.05, scheduled=True),
    "scaled": Circumstances(scaled=True, accumulate=2),
    "fused": Circumstances(scaled=True, optimizer=partial(torch.optim.AdamW, lr=1e-2, fused=True)),
    "averaged": Circumstances(averaged=True, scheduled=True, accumulate=3, optimizer=OPTIMIZERS["adam"]),
    "compiled": Circumstances(compiled=True, clip=0.05, optimizer=OPTIMIZERS["nesterov"]),
}
MORE = {"proximal": (nk.methods.spur(0.5, rounds=2, steps=2, alpha=1e-2, proximal=True), 5)}
# Every method with one or two of them, every circumstance with a method that presses and cuts, and with one that masks.
PAIRS = [
    ("magnitude", "clipped"),
    ("greg1", "plain"),
    ("greg1", "clipped"),
    ("greg1", "scaled"),
    ("greg1", "fused"),
    ("greg1", "averaged"),
    ("greg1", "compiled"),
    ("greg2", "bfloat16"),
    ("fixreg", "clipped"),
    ("random", "compiled"),
    ("masked_then_cut", "averaged"),
    ("masked_then_cut", "scaled"),
    ("imp", "bfloat16"),
    ("imp", "averaged"),
    ("spur", "clipped"),
    ("proximal", "averaged"),
    ("spur", "scaled"),
    ("movement", "scaled"),
    ("movement", "compiled"),
]


def test_the_pairs_leave_nothing_out() -> None:
    assert {name for name, _ in PAIRS} == set(METHODS) | set(MORE)
    assert {how for _, how in PAIRS} == set(CIRCUMSTANCES)


@pytest.mark.parametrize(("name", "how"), PAIRS)
def test_same_in_every_trainer(name: str, how: str) -> None:
    method, steps = {**METHODS, **MORE}[name]
    steps = max(steps, sum(method.rounds))  # as trainers ask for; some methods need less in the end
    assert laws.same_in_every_trainer(work(specimen("vgg_pooled")), method, steps, CIRCUMSTANCES[how]) is None


# -- the law can fail ---------------------------------------------------------------------------------------------


def broken(name: str, how: str, trainer: str, message: str) -> None:
    method, steps = METHODS[name]
    with pytest.raises(LawBroken, match=message):
        laws.same_in_every_trainer(work(specimen("vgg_pooled")), method, steps, CIRCUMSTANCES[how], [trainer])


def test_a_penalty_before_clipping(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = LightningPruning._extend

    def first(self: LightningPruning, trainer: object, module: object, hook: str, **when: Any) -> None:
        if hook == "configure_gradient_clipping":
            when = {"before": lambda *_: self._before_step(trainer)}
        honest(self, trainer, module, hook, **when)

    monkeypatch.setattr(LightningPruning, "_extend", first)
    broken("greg1", "clipped", "Lightning", r"in Lightning .*ends otherwise than in a plain loop")


def test_a_step_on_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "accumulating", lambda optimizer: False)
    broken("greg1", "clipped", "Accelerate", r"in Accelerate .*ends otherwise than in a plain loop")


def test_gradients_that_are_still_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hugging, "unscale_", lambda scaler, optimizer: None)
    broken("greg1", "scaled", "Trainer", r"in Trainer .*ends otherwise than in a plain loop")


def test_an_average_that_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Average, "cut", lambda self, plan: None)
    broken("greg1", "averaged", "Accelerate", r"greg1 in a plain loop .* failed: RuntimeError")


def test_a_mask_that_comes_after_the_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proximal step is of the learning rate that the optimizer used."""
    monkeypatch.setattr(
        LightningPruning,
        "_extend",
        lambda self, trainer, module, hook, honest=LightningPruning._extend, **when: (
            None if hook == "optimizer_step" else honest(self, trainer, module, hook, **when)
        ),
    )
    method = nk.methods.spur(0.5, rounds=2, steps=2, alpha=1e-2, proximal=True)
    asked = Circumstances(scheduled=True)
    with pytest.raises(LawBroken, match=r"in Lightning .*ends otherwise than in a plain loop"):
        laws.same_in_every_trainer(work(specimen("glu_mlp")), method, sum(method.rounds), asked, ["Lightning"])


def test_a_method_that_does_not_finish() -> None:
    with pytest.raises(LawBroken, match="greg1 was not finished after 2 steps"):
        laws.same_in_every_trainer(work(specimen("glu_mlp")), METHODS["greg1"][0], 2, trainers=[])
