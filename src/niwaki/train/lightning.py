"""Pruning inside the Trainer of Lightning, as one of its callbacks."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from niwaki.errors import BadInput, require_extra
from niwaki.graph.observe import Inputs
from niwaki.methods import Method
from niwaki.surgery.cut import shapes_of
from niwaki.train.engine import Pruning
from niwaki.train.looks import Loss
from niwaki.train.rehearsal import cuts, enough, must_be_method
from niwaki.train.stepping import innermost, stand_in, unscale_
from niwaki.train.view import Record


def _base() -> Any:
    """The class of callbacks, of the package that the user has: under its new name, or its old one."""
    names = ["lightning.pytorch", "pytorch_lightning"]
    for name in sorted(names, key=lambda name: name not in sys.modules):  # the one in use, if any
        try:
            return import_module(name).Callback
        except ImportError as missing:
            trouble = missing
    raise require_extra("lightning", "lightning") from trouble


if TYPE_CHECKING:

    class Callback:
        state_key: str
else:
    Callback = _base()


UNBEGUN = {"begun": False}
"""In checkpoints that are written before the run begins, as tuners do: there is nothing to go on with."""


class LightningPruning(Callback):
    """Carry out a method while Lightning trains: ``Trainer(..., callbacks=[nk.LightningPruning(method, inputs)])``.

    Penalties are added to the gradient that Lightning has accumulated, unscaled and clipped; masks hold after every
    step of the optimizer. Checkpoints take the state of the run along, and ``trainer.fit(module, ckpt_path=…)`` goes on
    from any of them bit for bit: give it a fresh, dense module; what had been cut is cut again before weights are
    loaded.

    Args:
        method: from ``nk.methods``; its steps are steps of the optimizer. Train for ``sum(method.rounds)`` of them
            (``max_steps``), or more.
        inputs: for tracing, as for :func:`niwaki.trace`.
        module: name of the part of the LightningModule that is pruned, such as ``"net"``; all of it if None.
        record, record_every, data, loss, ema: as for :class:`niwaki.Pruning`.

    Attributes:
        run: the :class:`niwaki.Pruning`; None until training begins.

    Raises:
        BadInput: (when training begins) the module has several optimizers, or there are callbacks that average weights,
            or the method cuts and the model is wrapped for several processes; (when a checkpoint is loaded) it has no
            state of the run.

    A second ``fit`` of the same module goes on with the finished run. While a tuner tries learning rates or batch
    sizes, the run stands still.
    """

    def __init__(
        self,
        method: Method,
        inputs: Inputs,
        *,
        module: str | None = None,
        record: Record | None = None,
        record_every: int = 1,
        data: Iterable[Any] | None = None,
        loss: Loss | None = None,
        ema: nn.Module | None = None,
    ) -> None:
        self.method, self.inputs, self.module = must_be_method(method), inputs, module
        self._options: dict[str, Any] = {
            "record": record,
            "record_every": record_every,
            "data": data,
            "loss": loss,
            "ema": ema,
        }
        self.run: Pruning | None = None
        self._saved: Mapping[str, Any] | None = None
        self._pressed = self._fitting = False
        self._undo: list[Callable[[], None]] = []

    # Between clipping and the optimizer's step, between that and the scheduler's, and before weights are loaded, no
    # callback is called. Hooks of the module are; so they do, for as long as it trains, what is ours there as well.

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._release()
        loading = functools.partial(self._make_fit, pl_module, stage=stage)
        self._extend(trainer, pl_module, "on_load_checkpoint", before=loading)
        self._extend(trainer, pl_module, "configure_gradient_clipping", after=lambda: self._before_step(trainer))
        self._extend(trainer, pl_module, "optimizer_step", after=self._after_step)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._release()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._release()

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        network = self._network(pl_module)
        _refuse_averages(trainer)
        _refuse_processes(trainer, self.method)
        optimizer = _the_optimizer(trainer)
        if self.run is None or self.run.model is not network:
            self.run = Pruning(network, optimizer, self.method, self.inputs, **self._options)
        self.run.train_with(optimizer)
        if self._saved is not None:  # once more: the model is on its device now
            self.run.load_state_dict(self._saved)
            self._saved = None
        self._fitting = True
        if not pl_module.automatic_optimization:
            handle = optimizer.register_step_post_hook(lambda *_: self._after_step())
            self._undo.append(handle.remove)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.fast_dev_run or (self.run is not None and self.run.finished):
            return
        steps = trainer.estimated_stepping_batches
        enough(self.method, 0 if steps == float("inf") else int(steps), "max_steps (or max_epochs)")

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """In manual optimization gradients are clipped by now."""
        if not pl_module.automatic_optimization:
            self._after_step()  # if a scaler has left out the last one
            self._before_step(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self._after_step()

    def state_dict(self) -> dict[str, Any]:
        """Goes into the checkpoint."""
        return dict(UNBEGUN) if self.run is None else self.run.whole_state()

    def _before_step(self, trainer: Any) -> None:
        assert self.run is not None, "Lightning begins with on_fit_start"
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and _has_gradients(self.run.optimizer):  # those of a fused optimizer are still scaled
            unscale_(scaler, self.run.optimizer)
        self.run.before_step()
        self._pressed = True

    def _after_step(self) -> None:
        if self._pressed and self.run is not None:
            self._pressed = False
            self.run.after_step()

    def _make_fit(self, pl_module: Any, checkpoint: Mapping[str, Any], stage: str) -> None:
        """Cut the module as the one was whose weights are loaded next."""
        saved = checkpoint.get("callbacks", {}).get(self.state_key)
        if saved == UNBEGUN:
            return
        if saved is None:
            self._refuse_stateless(pl_module, checkpoint, stage)
            return
        network = self._network(pl_module)
        if self.run is None or self.run.model is not network:
            self.run = Pruning(network, stand_in(network), self.method, self.inputs, **self._options)
        done = len(self.run.state_dict()["plans"])
        if len(saved["plans"]) < done:
            raise BadInput("the checkpoint was written before the module was cut; load it into a fresh, dense one")
        if stage == "fit" or len(saved["plans"]) > done:
            self.run.load_state_dict(saved)
            self._saved = saved if stage == "fit" and not self._fitting else None

    def _refuse_stateless(self, pl_module: Any, checkpoint: Mapping[str, Any], stage: str) -> None:
        """Only weights can be loaded, where they fit, and nothing can be gone on with."""
        whole = "callbacks" in checkpoint
        why = "it was written without this callback" if whole else "save_weights_only=True leaves it out"
        there, here = checkpoint.get("state_dict", {}), shapes_of(pl_module)
        other = [name for name in there.keys() & here.keys() if tuple(there[name].shape) != here[name]]
        if other:
            name = min(other)
            raise BadInput(
                f"the checkpoint's {name!r} has shape {tuple(there[name].shape)}, the module's {here[name]}, as where "
                f"one of them was cut; and it has no state of {self.method.name}: {why}. Save all of it with this "
                "callback there, or keep the network with nk.save and load it with nk.load."
            )
        if stage == "fit":
            raise BadInput(
                f"the checkpoint has no state of {self.method.name}: {why}. Load its weights into the module yourself, "
                "and begin anew."
            )

    def _network(self, pl_module: Any) -> nn.Module:
        found = pl_module if self.module is None else getattr(pl_module, self.module, None)
        if not isinstance(found, nn.Module):
            raise BadInput(f"{type(pl_module).__name__} has no module {self.module!r} to prune")
        return found

    def _extend(
        self,
        trainer: Any,
        module: Any,
        hook: str,
        *,
        before: Callable[..., None] = lambda *_: None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        theirs = getattr(module, hook)

        @functools.wraps(theirs)
        def extended(*args: Any, **kwargs: Any) -> Any:
            if self not in trainer.callbacks:  # a tuner has put its own in place of them
                return theirs(*args, **kwargs)
            before(*args)
            result = theirs(*args, **kwargs)
            after()
            return result

        own = vars(module).get(hook)
        setattr(module, hook, extended)
        self._undo.append(lambda: delattr(module, hook) if own is None else setattr(module, hook, own))

    def _release(self) -> None:
        self._fitting = False
        while self._undo:
            self._undo.pop()()


def _has_gradients(optimizer: torch.optim.Optimizer) -> bool:
    """Were there none, Lightning would leave out the step, and with it the update by which a scaler forgets."""
    return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])


def _the_optimizer(trainer: Any) -> torch.optim.Optimizer:
    if len(trainer.optimizers) != 1:
        raise BadInput(
            f"the module has {len(trainer.optimizers)} optimizers, and a run has one. Without the callback it goes by "
            "hand: nk.Pruning(network, optimizer, method, inputs) for each network, and before its optimizer steps "
            "run.before_step(), after it run.after_step()."
        )
    return innermost(trainer.optimizers[0])


def _refuse_averages(trainer: Any) -> None:
    names = ("WeightAveraging", "StochasticWeightAveraging")
    for callback in trainer.callbacks:
        if any(kind.__name__ in names for kind in type(callback).__mro__):
            raise BadInput(
                f"{type(callback).__name__} keeps a copy of the model that would be neither masked nor cut. Average in "
                "the module instead, with torch.optim.swa_utils.AveragedModel, and give it as ema=."
            )


def _refuse_processes(trainer: Any, method: Method) -> None:
    wrapped = isinstance(trainer.strategy.model, nn.parallel.DistributedDataParallel)
    if wrapped and cuts(method):
        raise BadInput(
            f"{method.name} cuts, and DistributedDataParallel would go on with the old parameters. Train in one "
            "process, or mask in training and cut after it."
        )


__all__ = ["LightningPruning"]
