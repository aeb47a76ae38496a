"""A lesson in the Trainer of transformers."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from niwaki.testing.laws.lesson import Lesson
from niwaki.train.hugging import PruningCallback


def train(lesson: Lesson) -> None:
    """With the callback, and one more that averages."""
    asked = lesson.asked
    pruning = PruningCallback(lesson.method, lesson.inputs, **lesson.options)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=lesson.steps,
            gradient_accumulation_steps=asked.accumulate,
            max_grad_norm=asked.clip,
            bf16=asked.bfloat16,
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            save_strategy="no",
            logging_strategy="no",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        trainer = _Trainer(lesson, arguments, [pruning, _Averaging(lesson)])
        trainer.train()
    lesson.run = pruning.run


class _Trainer(Trainer):
    def __init__(self, lesson: Lesson, arguments: TrainingArguments, callbacks: list[TrainerCallback]) -> None:
        self.lesson = lesson
        steady = torch.optim.lr_scheduler.ConstantLR(lesson.optimizer, 1.0)
        optimizers: Any = (lesson.optimizer, lesson.scheduler or steady)
        parts: Any = list(range(lesson.steps * lesson.asked.accumulate))
        super().__init__(lesson.model, arguments, train_dataset=parts, callbacks=callbacks, optimizers=optimizers)
        self.model_accepts_loss_kwargs = False  # the mean over the batches of a step is the Trainer's to take

    def create_accelerator_and_postprocess(self) -> None:
        """With a scaler, as float16 has it, which the Trainer leaves to other devices."""
        super().create_accelerator_and_postprocess()
        self.accelerator.scaler = self.lesson.asked.scaler()

    def get_train_dataloader(self) -> Any:
        """In order."""
        parts: Any = self.train_dataset
        return self.accelerator.prepare(DataLoader(parts, batch_size=1, collate_fn=_named))

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
        return self.lesson.loss(int(inputs["part"]), model)


def _named(parts: list[int]) -> dict[str, torch.Tensor]:
    return {"part": torch.tensor(parts)}


class _Averaging(TrainerCallback):
    def __init__(self, lesson: Lesson) -> None:
        self.lesson = lesson

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.lesson.average()


__all__ = ["train"]
