"""Pruning inside the Trainer of Hugging Face's transformers, as one of its callbacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput, require_extra
from niwaki.graph.observe import Inputs
from niwaki.methods import Method
from niwaki.train.engine import Pruning
from niwaki.train.view import Record

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as trouble:
    raise require_extra("transformers", "hf") from trouble

FILE = "niwaki_pruning.pt"
"""In every checkpoint's folder: the state of the run, tensors and plain data."""


class PruningCallback(TrainerCallback):
    """Carry out a method while a Trainer trains: ``Trainer(..., callbacks=[nk.PruningCallback(method)])``.

    Penalties are added to the gradient that the Trainer has accumulated, unscaled and clipped; masks hold after every
    step of the optimizer. Each checkpoint of the Trainer takes the state of the run along, and
    ``trainer.train(resume_from_checkpoint=…)`` goes on from it bit for bit.

    Args:
        method: from ``nk.methods``; its steps are steps of the optimizer. Train for ``sum(method.rounds)`` of them
            (``max_steps``), or more; a learning rate that starts anew in each round is
            ``LambdaLR(optimizer, nk.schedules.per_round(method.rounds))``, given as the Trainer's ``optimizers``.
        inputs: for tracing, as for :func:`niwaki.trace`; ``model.dummy_inputs`` if None. Methods that prune single
            weights need none.
        resume_from: the checkpoint's folder, where it is not in the Trainer's ``output_dir``.
        record, record_every, data, loss: as for :class:`niwaki.Pruning`.

    Attributes:
        run: the :class:`niwaki.Pruning`; None until training begins.
    """

    def __init__(
        self,
        method: Method,
        inputs: Inputs | None = None,
        *,
        resume_from: str | os.PathLike[str] | None = None,
        record: Record | None = None,
        record_every: int = 1,
        data: Iterable[Any] | None = None,
        loss: Callable[[nn.Module, Any], Tensor] | None = None,
    ) -> None:
        if not isinstance(method, Method):
            raise BadInput(f"method must come from nk.methods, not {type(method).__name__}")
        self.method, self.inputs, self.resume_from = method, inputs, resume_from
        self._options: dict[str, Any] = {"record": record, "record_every": record_every, "data": data, "loss": loss}
        self.run: Pruning | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **live: Any
    ) -> None:
        model, optimizer = live["model"], _bare(live["optimizer"])
        _enough(self.method, state.max_steps)
        inputs: Any = getattr(model, "dummy_inputs", None) if self.inputs is None else self.inputs
        self.run = Pruning(model, optimizer, self.method, inputs, **self._options)
        if state.global_step:
            self.run.load_state_dict(_read(self._checkpoint(args, state)))

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **live: Any
    ) -> None:
        scaler = getattr(live["optimizer"], "scaler", None)
        if scaler is not None and not args.max_grad_norm:  # else clipping has unscaled them
            scaler.unscale_(_bare(live["optimizer"]))
        self._run.before_step()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **live: Any
    ) -> None:
        self._run.after_step()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **live: Any) -> None:
        folder = _folder(args, state)
        if state.is_world_process_zero and folder.is_dir():
            _write(self._run.state_dict(), folder / FILE)

    @property
    def _run(self) -> Pruning:
        assert self.run is not None, "the Trainer begins with on_train_begin"
        return self.run

    def _checkpoint(self, args: TrainingArguments, state: TrainerState) -> Path:
        place = _folder(args, state) if self.resume_from is None else Path(self.resume_from)
        if not (place / FILE).is_file():
            raise BadInput(
                f"the Trainer goes on from step {state.global_step}, and the state of {self.method.name} at that step "
                f"is not there: no {FILE} in {place}. If the checkpoint is elsewhere, name its folder: "
                "PruningCallback(..., resume_from=folder). If it was written without this callback, begin anew."
            )
        return place / FILE


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"


def _bare(optimizer: Any) -> torch.optim.Optimizer:
    """Out of Accelerate's wrapper."""
    inner = getattr(optimizer, "optimizer", optimizer)
    assert isinstance(inner, torch.optim.Optimizer)
    return inner


def _enough(method: Method, steps: int) -> None:
    """Raise :class:`BadInput` if training ends before the method does, for all that can be told before it begins."""
    wanted = method.body.longest
    if 0 < steps < sum(method.rounds) and wanted is not None:
        raise BadInput(
            f"{method.name} takes {wanted} steps of the optimizer, and the Trainer would make {steps}: raise max_steps "
            "(or num_train_epochs), or give the method fewer steps"
        )


def _write(state: dict[str, Any], path: Path) -> None:
    """Beside it first: a run that is broken off while it writes must not leave half a file."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def _read(path: Path) -> dict[str, Any]:
    """Nothing in it can run code."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if state.get("plans"):
        raise BadInput(
            f"{path}: by then this run had cut the model, and the Trainer cannot load smaller weights into the model "
            "that it begins with. Go on from a checkpoint before the cut, or fine-tune the cut model by itself."
        )
    return state


__all__ = ["FILE", "PruningCallback"]
