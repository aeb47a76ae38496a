"""A lesson in a loop of Accelerate."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch.utils.data import DataLoader

from niwaki.testing.laws.lesson import Lesson


def train(lesson: Lesson) -> None:
    """The loop of Accelerate's own pages, with ``run.step()`` in place of ``optimizer.step()``."""
    asked = lesson.asked
    AcceleratorState._reset_state(reset_partial_state=True)  # one process has one, and another lesson another
    GradientState._reset_state()
    accelerator = Accelerator(
        cpu=True, gradient_accumulation_steps=asked.accumulate, mixed_precision="bf16" if asked.bfloat16 else "no"
    )
    accelerator.scaler = asked.scaler()  # of float16, which Accelerate leaves to other devices than the CPU
    parts: Any = DataLoader(range(lesson.steps * asked.accumulate), batch_size=None)  # type: ignore[arg-type]
    model, optimizer, parts = accelerator.prepare(lesson.model, lesson.optimizer, parts)
    scheduler = None if lesson.scheduler is None else accelerator.prepare(lesson.scheduler)
    run = lesson.begin(model, optimizer)
    for part in parts:
        with accelerator.accumulate(model):
            accelerator.backward(lesson.loss(int(part), model))
            if accelerator.sync_gradients and asked.clip:
                accelerator.clip_grad_norm_(model.parameters(), asked.clip)
            run.step()
            if scheduler is not None:
                scheduler.step()
            optimizer.zero_grad()
            if accelerator.sync_gradients:
                lesson.average()


__all__ = ["train"]
