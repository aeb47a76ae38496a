"""Fine-tuning as encoders are fine-tuned: AdamW, a rate that rises and falls in straight lines, clipped gradients."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.savepoints import Savepoints
from niwaki.text import answers
from niwaki.text.batches import Batch, Batches, Tokens

_APART, _FAR_APART = 10_007, 1_000_003  # between the seeds of two runs: more than there are epochs; steps

Evaluate = Callable[[nn.Module], float]
"""How good the model is now; higher is better."""
Tell = Callable[[int, int, float], None]
"""Told after each step: steps done, steps in all, the step's loss."""
Loss = Callable[[nn.Module, Batch, bool | None], Tensor]
"""Of a model, a batch, and whether products are computed in bfloat16."""


@dataclass(frozen=True)
class Settings:
    """How to fine-tune (Devlin et al., *BERT*, 2019, appendix A.3, but for the clipping, which is in their code).

    Attributes:
        epochs: at least 1. lr: the highest learning rate. size: rows in a batch.
        warmup: the share of all steps in which the rate rises from 0; then it falls to 0.
        weight_decay: of matrices and embeddings; biases and norms have none.
        clip: the longest gradient, of all weights together; longer ones are shortened.
        accumulate: batches whose gradients are averaged for one step.
        seed: of the order of the rows and of dropout.
        keep: ``last``, or ``best``: the weights after the epoch that was best by ``evaluate``, the first of equals.
            (Not where something else steps, such as a run that prunes: earlier weights are without its later masks, or
            do not fit what it has cut.)
        bf16: products in bfloat16; by default, where the device has it in hardware.
    """

    epochs: int = 3
    lr: float = 5e-5
    size: int = 32
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    accumulate: int = 1
    seed: int = 0
    keep: str = "last"
    bf16: bool | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "size", "accumulate"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise BadInput(f"{name} must be a whole number of at least 1, not {value!r}.")
        for name in ("lr", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise BadInput(f"{name} must be a number above 0, not {getattr(self, name)!r}.")
        if not 0 <= self.warmup <= 1 or not 0 <= self.weight_decay < float("inf"):
            raise BadInput(
                f"warmup is a share and weight_decay at least 0; got {self.warmup!r}, {self.weight_decay!r}."
            )
        if self.keep not in ("last", "best"):
            raise BadInput(f"keep must be 'last' or 'best', not {self.keep!r}.")


def adamw(model: nn.Module, lr: float, weight_decay: float = 0.01) -> torch.optim.AdamW:
    """AdamW that lets biases and norms (whatever has one dimension) be; in one pass over the memory."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def linear(step: int, steps: int, warmup: float) -> float:
    """Share of the highest rate at a step, the first being 0: up to 1 over a share ``warmup`` of the steps, and down to
    0 at the step after the last."""
    rising = round(warmup * steps)
    return step / rising if step < rising else (steps - step) / max(1, steps - rising)


class Finetuning:
    """Fine-tuning that can stop at any step and go on later, bit for bit.

    Args:
        model: trained in place, where it is. tokens: to train on.
        evaluate: called after each epoch.
        optimizer: by default `adamw`. Its rates are peaks, whatever `Settings.lr` says.
        step: in place of ``optimizer.step()``, for instance that of a run that prunes while it trains. That run's own
            state is not in `state_dict`, and ``keep="best"`` is refused beside it.
        rate: the share of the highest rate at a step, the first being 0, in place of the one rise and fall of
            `Settings.warmup`; for instance one that starts anew after each choice of a run that prunes.
        loss: of a batch; by default that of the labels.

    Raises:
        BadInput: the best epoch is to be kept, and there is no ``evaluate``, or another ``step``.
    """

    def __init__(
        self,
        model: nn.Module,
        tokens: Tokens,
        settings: Settings | None = None,
        *,
        evaluate: Evaluate | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        step: Callable[[], Any] | None = None,
        rate: Callable[[int], float] | None = None,
        loss: Loss = answers.loss,
    ) -> None:
        self.model, self.settings, self.evaluate = model, settings or Settings(), evaluate
        s = self.settings
        if s.keep == "best" and evaluate is None:
            raise BadInput("keep='best' needs evaluate, which says which epoch was best.")
        self.optimizer = adamw(model, s.lr, s.weight_decay) if optimizer is None else optimizer
        self._own_step = self.optimizer.step
        self.step, self.loss = self._own_step if step is None else step, loss
        self._require_own_step()
        self.batches = Batches(tokens, s.size, s.seed * _APART, device=_device(model))
        self.each = -(-len(self.batches) // s.accumulate)
        self.steps = self.each * s.epochs
        self.rate = partial(linear, steps=self.steps, warmup=s.warmup) if rate is None else rate
        self.done = 0
        self.history: list[dict[str, float]] = []
        self._losses: list[float] = []
        self._peaks = [group["lr"] for group in self.optimizer.param_groups]
        self._best: dict[str, Tensor] | None = None

    def run(self, tell: Tell | None = None, until: int | None = None) -> list[dict[str, float]]:
        """Train to the end, or until so many steps are done; a row for each epoch: its mean loss, and ``value``.

        Raises:
            BadInput: the loss is no finite number any more; the best epoch is to be kept, and ``evaluate`` gives NaN,
                or ``step`` is another by now.
        """
        self._require_own_step()
        until = self.steps if until is None else min(until, self.steps)
        while self.done < until:
            self.model.train()
            self.batches.epoch = self.done // self.each
            self.batches.skip = self.done % self.each * self.settings.accumulate
            for part in islice(self._parts(), until - self.done):
                self._losses.append(self._one(part))
                self.done += 1
                if tell is not None:
                    tell(self.done, self.steps, self._losses[-1])
            if self.done % self.each == 0:
                self._end_epoch()
        if self.done == self.steps and self._best is not None:
            self.model.load_state_dict(self._best)
        return self.history

    def _require_own_step(self) -> None:
        """What else steps may mask or cut, and the weights of an earlier epoch would undo that."""
        if self.settings.keep == "best" and self.step != self._own_step:
            raise BadInput(
                "keep='best' with a step that is not the optimizer's: putting back an epoch's weights would undo what "
                "that step has masked or cut since. Take keep='last'; what a method has cut to its end can be "
                "fine-tuned once more, with keep='best' and without step."
            )

    def _parts(self) -> Iterator[list[Batch]]:
        """The batches of each step."""
        batches = iter(self.batches)
        while part := list(islice(batches, self.settings.accumulate)):
            yield part

    def _one(self, part: list[Batch]) -> float:
        # The dropout of a step depends on its number alone, so that going on needs no state of a generator.
        torch.manual_seed(self.settings.seed * _FAR_APART + self.done)
        self.optimizer.zero_grad(set_to_none=True)
        share = self.rate(self.done)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * share
        total = 0.0
        for batch in part:
            found = self.loss(self.model, batch, self.settings.bf16) / len(part)
            found.backward()
            total += found.item()
        if not total < float("inf"):
            raise BadInput(f"The loss is {total} at step {self.done}: train with a smaller learning rate.")
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.step()
        return total

    def _end_epoch(self) -> None:
        row = {"epoch": len(self.history) + 1, "loss": sum(self._losses) / len(self._losses)}
        self._losses = []
        if self.evaluate is not None:
            row["value"] = self.evaluate(self.model)
            if self.settings.keep == "best" and row["value"] != row["value"]:
                raise BadInput(
                    f"evaluate gives NaN after epoch {row['epoch']:.0f}, which is neither better nor worse than "
                    "another: give a number, or keep='last'."
                )
            before = max((r["value"] for r in self.history), default=-float("inf"))
            if self.settings.keep == "best" and row["value"] > before:
                self._best = copy.deepcopy(self.model.state_dict())
        self.history.append(row)

    @cached_property
    def _data(self) -> str:
        return self.batches.tokens.digest()

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors from which `load_state_dict` goes on bit for bit."""
        return {
            "settings": asdict(self.settings),
            "steps": self.steps,
            "data": self._data,
            "done": self.done,
            "history": copy.deepcopy(self.history),
            "losses": list(self._losses),
            "best": self._best,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. (A state from before data had a digest is taken for one of these data.)

        Raises:
            BadInput: the state is of other settings or other data.
        """
        mine = {"settings": asdict(self.settings), "steps": self.steps, "data": self._data}
        theirs = {name: state.get(name) for name in mine}
        theirs["data"] = theirs["data"] or self._data
        if mine != theirs:
            raise BadInput(
                f"This state is of another run: {theirs}, and this one is {mine}. Start afresh, or match it."
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.history = state["done"], copy.deepcopy(state["history"])
        self._losses, self._best = list(state["losses"]), state["best"]


def finetune(
    run: Finetuning, checkpoint: str | os.PathLike[str] | None = None, every: int = 200, tell: Tell | None = None
) -> list[dict[str, float]]:
    """Carry a run to its end, with a checkpoint every so many steps; one that is there already is gone on from.

    Args:
        checkpoint: beginning of the files' names: of ``tuned.pt``, ``tuned-000003.pt`` and the one before it are kept,
            as :class:`niwaki.Savepoints` does.
    """
    if checkpoint is None:
        return run.run(tell)
    points = Savepoints.beside(Path(checkpoint))
    found = points.load()
    if found is not None:
        run.load_state_dict(found)
    while run.done < run.steps:
        run.run(tell, until=run.done + every)
        points.save(run.state_dict())
    return run.run(tell)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


__all__ = ["Evaluate", "Finetuning", "Settings", "Tell", "adamw", "finetune", "linear"]
