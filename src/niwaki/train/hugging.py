"""Pruning inside the Trainer of Hugging Face's transformers, as one of its callbacks."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput, NotSaved, require_extra
from niwaki.graph.observe import Inputs
from niwaki.methods import Method
from niwaki.ranks import Ranks, fully_sharded
from niwaki.train.checkpoints import FILE, read, write
from niwaki.train.engine import Pruning
from niwaki.train.rehearsal import cuts, enough, must_be_method
from niwaki.train.stepping import innermost, stand_in, unscale_
from niwaki.train.view import Record
from niwaki.wording import counted

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as trouble:
    raise require_extra("transformers", "hf") from trouble

logger = logging.getLogger("niwaki")


class PruningCallback(TrainerCallback):
    """Carry out a method while a Trainer trains: ``Trainer(..., callbacks=[nk.PruningCallback(method)])``.

    Penalties are added to the gradient that the Trainer has accumulated, unscaled and clipped; masks hold after every
    step of the optimizer. Each checkpoint of the Trainer takes the state of the run along, and
    ``trainer.train(resume_from_checkpoint=folder)`` goes on from it bit for bit. If the model had been cut by then, the
    callback must know the folder before the Trainer loads it: ``PruningCallback(method, resume_from=folder)``. After a
    crash, the folder is ``niwaki.last_checkpoint(output_dir)``.

    Args:
        method: from ``nk.methods``; its steps are steps of the optimizer. Train for ``sum(method.rounds)`` of them
            (``max_steps``), or more; a learning rate that starts anew in each round is
            ``LambdaLR(optimizer, nk.schedules.per_round(method.rounds))``, given as the Trainer's ``optimizers``.
        inputs: for tracing, as for :func:`niwaki.trace`; ``model.dummy_inputs`` if None. Methods that prune single
            weights need none.
        resume_from: the checkpoint's folder, where it is not in the Trainer's ``output_dir``, or was written after a
            cut. (``args.resume_from_checkpoint`` does as well.)
        record, record_every, data, loss, ema: as for :class:`niwaki.Pruning`.

    A second ``trainer.train()`` of the same model goes on with the finished run: what is zero stays zero, and nothing
    is pruned again. For that, make a new callback.

    Attributes:
        run: the :class:`niwaki.Pruning`; None until training begins.

    Raises:
        BadInput: (when training begins) ``load_best_model_at_end``; too few steps; a cut, and the model is replicated
            over several processes; the state in the folder is of another run.
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
        ema: nn.Module | None = None,
    ) -> None:
        self.method, self.inputs, self.resume_from = must_be_method(method), inputs, resume_from
        self._options: dict[str, Any] = {
            "record": record,
            "record_every": record_every,
            "data": data,
            "loss": loss,
            "ema": ema,
        }
        self.run: Pruning | None = None
        self._place: Path | None = None  # from which the model was cut when the Trainer was made
        self._trained = False

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **live: Any) -> None:
        """Make the cuts of a checkpoint again, so that the Trainer can load its weights."""
        place = self.resume_from or args.resume_from_checkpoint
        if place is None or live["model"] is None:
            return
        if self.resume_from is None and not (Path(place) / FILE).is_file():
            return
        saved = read(Path(place), Ranks.here())
        if saved["plans"]:
            given = live["optimizer"]
            self.run = self._begin(live["model"], stand_in(live["model"]) if given is None else innermost(given))
            self.run.load_state_dict(saved)
            self._place = Path(place)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **live: Any
    ) -> None:
        model, optimizer = live["model"], innermost(live["optimizer"])
        if self._goes_on(model, state):
            self._run.train_with(optimizer)
            return
        place = self._place if self.resume_from is None else self.resume_from
        if place is not None and not state.global_step:
            raise BadInput(
                f"resume_from={str(place)!r}, and the Trainer begins at step 0. Give both the same folder: "
                "trainer.train(resume_from_checkpoint=folder)."
            )
        self._refuse_replicas(model)
        if args.load_best_model_at_end and self.method.body.longest != 0:  # what is done at once is in every checkpoint
            raise BadInput(
                f"load_best_model_at_end=True: after training the Trainer would load the checkpoint that scored best "
                f"over what {self.method.name} has made, and that may be a dense one, or one from before it was done. "
                "Set load_best_model_at_end=False, and choose yourself among the checkpoints from the method's end on "
                f"(step {sum(self.method.rounds)} or later)."
            )
        enough(self.method, state.max_steps, "max_steps (or num_train_epochs)")
        if args.save_total_limit == 1 and state.is_world_process_zero and args.save_strategy != "no":
            warnings.warn(
                "save_total_limit=1: the Trainer removes the old checkpoint before the new one has the state of the "
                "run, and a job killed between the two has none. Let it keep 2.",
                UserWarning,
                stacklevel=2,
            )
        if self.run is not None and self._is_cut_for(self.run, state):
            self.run.model = model
            self.run.train_with(optimizer)
        else:
            self.run = self._begin(model, optimizer)
        if state.global_step:
            beside = model if self.resume_from is None else None  # who names the folder knows what is in it
            self.run.load_state_dict(read(self._checkpoint(args, state), self.run.ranks, beside))
        self._trained = True

    @staticmethod
    def _is_cut_for(run: Pruning, state: TrainerState) -> bool:
        """Is the model cut by now as it was in the checkpoint that the Trainer has loaded? (A run that has gone on in a
        second training counts the steps of both.)"""
        steps = state.global_step
        return run.receipt is not None and steps > 0 and (run.steps == steps or (run.finished and run.steps > steps))

    def _goes_on(self, model: nn.Module, state: TrainerState) -> bool:
        """Is this a further training of a model that is done?"""
        run = self.run if self._trained and not state.global_step else None
        return run is not None and run.finished and run.model is model

    def _refuse_replicas(self, model: nn.Module) -> None:
        done = self.run is not None and self.run.finished
        if cuts(self.method) and not done and Ranks.here().size > 1 and not fully_sharded(model):
            raise BadInput(
                f"{self.method.name} cuts, and DistributedDataParallel, which the Trainer keeps to itself, would go on "
                "with the old parameters: each process would train apart. Train in one process or sharded (FSDP2), or "
                "mask in training and cut after it, or use a loop of Accelerate."
            )

    def _begin(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Pruning:
        inputs: Any = getattr(model, "dummy_inputs", None) if self.inputs is None else self.inputs
        return Pruning(model, optimizer, self.method, inputs, **self._options)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **live: Any
    ) -> None:
        scaler = getattr(live["optimizer"], "scaler", None)
        if scaler is not None:
            unscale_(scaler, live["optimizer"])
        self._run.before_step()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **live: Any
    ) -> None:
        self._run.after_step()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **live: Any) -> None:
        if not self._run.finished:
            logger.warning(
                "the Trainer has stopped at step %d, and %s was not done: it takes %s. What is saved now is neither "
                "dense nor what was asked for; go on from the last checkpoint (resume_from_checkpoint).",
                state.global_step, self.method.name, _length(self.method),
            )  # fmt: skip

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **live: Any) -> None:
        folder = _written(args, state)
        if folder is not None:
            write(self._run, folder)
        elif state.is_world_process_zero:
            warnings.warn(
                f"the Trainer's checkpoint of step {state.global_step} is not where it is looked for, in "
                f"{args.output_dir}: it has no state of the run, and cannot be gone on from. (In a search of "
                "hyperparameters, trials at the same time need an output_dir each.)",
                NotSaved,
                stacklevel=2,
            )

    @property
    def _run(self) -> Pruning:
        assert self.run is not None, "the Trainer begins with on_train_begin"
        return self.run

    def _checkpoint(self, args: TrainingArguments, state: TrainerState) -> Path:
        told = args.resume_from_checkpoint
        if self.resume_from is None and told is not None and _is_of(Path(told), state.global_step):
            return Path(told)
        place = _folder(args, state) if self.resume_from is None else Path(self.resume_from)
        if not (place / FILE).is_file() and self.resume_from is None and not place.is_dir():
            raise BadInput(
                f"the Trainer goes on from step {state.global_step}, and the state of {self.method.name} at that step "
                f"is not there: no {FILE} in {place}. If the checkpoint is elsewhere, name its folder: "
                "PruningCallback(..., resume_from=folder)."
            )
        return place


def _length(method: Method) -> str:
    longest = method.body.longest
    return "as many steps as it needs" if longest is None else f"at most {counted(longest, 'step')}"


def _is_of(folder: Path, step: int) -> bool:
    """Does it hold the run at this step? (The arguments may name one checkpoint, and ``train`` be given another.)"""
    if not (folder / FILE).is_file():
        return False
    try:
        return bool(json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))["global_step"] == step)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"


def _written(args: TrainingArguments, state: TrainerState) -> Path | None:
    """Where the Trainer has just saved: in a search of hyperparameters, in the folder of the trial, whose name it tells
    only where the user made it."""
    folder = _folder(args, state)
    if not state.is_hyper_param_search:
        return folder if folder.is_dir() else None
    trials = [folder.parent / state.trial_name] if state.trial_name else sorted(folder.parent.glob("run-*"))
    found = [trial / folder.name for trial in trials if (trial / folder.name).is_dir()]
    fresh = [place for place in found if not (place / FILE).is_file()]
    return fresh[0] if len(fresh) == 1 else None


__all__ = ["FILE", "PruningCallback"]
