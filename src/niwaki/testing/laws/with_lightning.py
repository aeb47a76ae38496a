"""A lesson in the Trainer of Lightning."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.utils.data import DataLoader

from niwaki.testing.laws.lesson import Lesson
from niwaki.train.lightning import LightningPruning


def train(lesson: Lesson) -> None:
    """With the callback, and one more that averages."""
    asked, scaler = lesson.asked, lesson.asked.scaler()
    pruning: Any = LightningPruning(lesson.method, lesson.inputs, module="network", **lesson.options)
    precision: dict[str, Any] = {"plugins": [_ScaledOnly(scaler)]} if scaler is not None else {}
    if asked.bfloat16:
        precision = {"precision": "bf16-mixed"}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=lesson.steps,
            accumulate_grad_batches=asked.accumulate,
            gradient_clip_val=asked.clip or None,
            callbacks=[pruning, _Averaging(lesson)],
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **precision,
        )
        trainer.fit(_Module(lesson), DataLoader(range(lesson.steps * asked.accumulate), batch_size=None))  # type: ignore[arg-type]
    lesson.run = pruning.run


class _ScaledOnly(MixedPrecision):
    """Its scaler, without its autocast: on the CPU other trainers have no float16."""

    def __init__(self, scaler: Any) -> None:
        super().__init__("16-mixed", "cpu", scaler)

    def forward_context(self) -> Any:
        return nullcontext()


class _Module(LightningModule):
    def __init__(self, lesson: Lesson) -> None:
        super().__init__()
        self.lesson, self.network = lesson, lesson.model

    def training_step(self, part: Any, index: int) -> Any:
        return self.lesson.loss(int(part), self.network)

    def configure_optimizers(self) -> Any:
        if self.lesson.scheduler is None:
            return self.lesson.optimizer
        return [self.lesson.optimizer], [{"scheduler": self.lesson.scheduler, "interval": "step"}]


class _Averaging(Callback):
    def __init__(self, lesson: Lesson) -> None:
        self.lesson = lesson

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        if (index + 1) % self.lesson.asked.accumulate == 0:
            self.lesson.average()


__all__ = ["train"]
