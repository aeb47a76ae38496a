"""Pruning in training: one object whose ``step()`` takes the place of ``optimizer.step()``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.graph import Graph
from niwaki.graph.observe import Inputs
from niwaki.methods import Method, Regularize, to_json
from niwaki.methods.parts import Part, at_least
from niwaki.methods.view import NOTHING, Chosen, Orders, Outcome, State, View
from niwaki.ranks import Ranks, check_wrapped, digest, fully_sharded, local, part, replica, wrapped_again
from niwaki.surgery.cut import Receipt, cut_
from niwaki.surgery.decide import make_plan
from niwaki.tracing import trace
from niwaki.train.averages import Average
from niwaki.train.copies import Copies
from niwaki.train.differing import sample, unlike, why
from niwaki.train.faint import tell_if_lost
from niwaki.train.looks import Looks, Loss, require
from niwaki.train.masked import Masked
from niwaki.train.movement import Moves
from niwaki.train.overflow import stepped
from niwaki.train.parting import parted, tell_if_hardly
from niwaki.train.pressure import Pressure, regularize, shrink_
from niwaki.train.rehearsal import (
    check,
    check_closure,
    check_cut,
    check_penalties,
    check_pressed,
    must_be_method,
    refuse_flattened,
    what_of,
)
from niwaki.train.snapshot import Snapshot
from niwaki.train.stepping import accumulating, joined, scaler_of, step_, unscale_, with_closure
from niwaki.train.view import EngineView, Record
from niwaki.train.zeros import Zeros
from niwaki.units import Plan
from niwaki.wording import counted
from niwaki.wrappers import bare

VERSION = 4


class Pruning:
    """Carry out a method while a model trains.

    Call :meth:`step` where you would call ``optimizer.step()``, until :attr:`finished`. Penalties are added to the
    gradient as you leave it (clip before), masks hold after every step, and a cut takes the optimizer's state along.

    Args:
        model: trained in place, on any device. optimizer: the one that trains it, or all of them in a list (Muon for
            matrices, AdamW for the rest), which then step together. method: from ``nk.methods``.
        inputs: for tracing, as for :func:`niwaki.trace`.
        record: called with one dict per recorded figure (penalty, norms, …); for instance a list's ``append``.
        record_every: figures are recorded on every so many-th update of the method; at least 1.
        graph: a graph of this very model, if you have traced it already. (A method that prunes single weights needs
            none.)
        data: batches, for methods that look at data; as for :func:`niwaki.prune`. To go on bit for bit from a
            checkpoint it must give the same batches again.
        loss: of (model, batch) to one number with a gradient, for methods that need one.
        ranks: the processes that train this model together; those of the default process group if None. See
            :class:`niwaki.Ranks`.
        ema: an averaged copy of the model that you update yourself, such as ``torch.optim.swa_utils.AveragedModel``. It
            is masked and cut as the model is, and starts again where the model is given other weights (a rewind).

    Raises:
        UnreachableTarget, NothingToPrune, BadInput, CannotFollow: now, not after hours, if the method cannot be
            carried out. (CannotFollow also at a cut, for state that the optimizer has made by then. Nothing is cut
            then, and the next step tries again.)
        RanksDiffer: now or at any choice or cut, on all ranks: they do not do the same.
        RankFailed: another rank failed.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        method: Method,
        inputs: Inputs,
        *,
        record: Record | None = None,
        record_every: int = 1,
        graph: Graph | None = None,
        data: Iterable[Any] | None = None,
        loss: Loss | None = None,
        ema: nn.Module | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.ranks = ranks or Ranks.here()
        with self.ranks.every("the start of a run"):
            self._begin(model, optimizer, method, inputs, record, record_every, graph, data, loss, ema)

    def _begin(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        method: Method,
        inputs: Inputs,
        record: Record | None,
        record_every: int,
        graph: Graph | None,
        data: Iterable[Any] | None,
        loss: Loss | None,
        ema: nn.Module | None,
    ) -> None:
        must_be_method(method)
        require(method, data, loss)
        at_least(record_every, 1, "record_every")
        self.model, self.method, self.inputs = model, method, inputs
        self.optimizer: torch.optim.Optimizer = joined(optimizer)
        refuse_flattened(model)
        self._of = what_of(method)
        self._agree("the method", (to_json(method), record_every))
        self._graph = trace(replica(model), inputs) if graph is None and "units" in self._of else graph
        self.receipt: Receipt | None = None
        self._over = self._due = False  # over: the method wants nothing more, though a cut may be due
        self._open = True  # there was something to do when this step began
        self._fresh = False  # parameters that a cut has made, and no step was made with
        self.steps = 0
        looks = None if data is None or not method.needs else Looks(model, inputs, data, loss, self.ranks)
        self._zeros, self._moves = Zeros(model), Moves.of(method, model)
        self._snapshot = Snapshot(model, self.optimizer)
        self._average, self._copies = Average(model, ema), Copies()
        self._view = EngineView(
            model, self._graph, record, record_every, looks, self._zeros.gone, self._moves.sums, self.ranks
        )
        self._state = method.body.begin(self._view)
        self._masked = Masked(model)
        self._plans: list[Plan] = []
        self._pressure: Pressure | None = None
        self._orders: Orders | None = None
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        """Before any step is spent: can all of it be carried out?"""
        method, view, optimizer = self.method, self._view, self.optimizer
        check(method, view)
        _same_parameters(self.model, optimizer)
        check_closure(method, optimizer)
        check_cut(method, view, optimizer)
        check_pressed(method, view, optimizer)
        check_penalties(method, view, optimizer)
        tell_if_lost(method, view, self._parameters(), optimizer)

    @property
    def finished(self) -> bool:
        """Is all done that the method wants, and no cut due that was refused?"""
        return self._over and not self._due

    @property
    def graph(self) -> Graph:
        """The coupling graph of the model as it is now.

        Raises:
            BadInput: the method prunes single weights, so that no graph was made.
            NothingToPrune: the last cut has left nothing that could go.
        """
        if self._graph is None and "units" in self._of:
            self._graph = trace(replica(self.model), self.inputs)
        if self._graph is None:
            raise BadInput(f"{self.method.name} prunes single weights and made no graph; nk.trace makes one")
        return self._graph

    @property
    def chosen(self) -> Chosen:
        """What is chosen now: units by group; of single weights, bool tensors by tensor name, true where one goes."""
        return dict(self._view.chosen)

    @property
    def zeroed(self) -> dict[str, Tensor]:
        """Single weights that are kept zero now: bool tensors by tensor name, true where one is gone."""
        return dict(self._zeros.gone)

    @property
    def pressure(self) -> Mapping[str, float]:
        """The penalty factor on what is chosen now, by group (tensor); none when the run is finished."""
        return {} if self.finished else dict(self._view.pressure)

    @property
    def kept_pressure(self) -> Mapping[str, float]:
        """The penalty factor on all the rest now, by group (tensor); below 0, it is let grow."""
        return {} if self.finished else dict(self._view.kept_pressure)

    def step(self, scaler: Any = None) -> None:
        """Press, let the optimizer step, keep masks, and cut when it is time. Nothing, where Accelerate only sums up
        gradients.

        ``scaler``: a gradient scaler of mixed precision; gradients are unscaled before the penalty is added, if you
        have not done so yourself to clip them. (Accelerate's optimizers know theirs.)
        """
        if accumulating(self.optimizer):
            return
        if name := with_closure(self.optimizer):
            raise BadInput(
                f"{name} steps with a closure: in place of run.step(), call run.before_step(), optimizer.step(closure) "
                "and run.after_step()"
            )
        scaler = scaler_of(self.optimizer) if scaler is None else scaler
        if scaler is not None:
            unscale_(scaler, self.optimizer)
        self.before_step()
        step_(self.optimizer, scaler)
        self.after_step()

    def before_step(self) -> None:
        """The part of `step` that comes before ``optimizer.step()``, for loops that call that themselves: gradients are
        as the optimizer will see them, clipped and unscaled.

        Raises:
            BadInput: called twice without `after_step` between.
        """
        if self._orders is not None:
            raise BadInput("before_step was called twice; call after_step when the optimizer has stepped")
        if self._due:
            self._cut()
        self._open = not self.finished
        if self._open:
            self._moves.add(self.optimizer)
        self._orders = self._advance() if self._open else NOTHING
        self._masked.still()
        if self._orders.remember:
            self._snapshot.take()
        for pressing in self._orders.press:
            self._press().add(pressing)
        for each in self._orders.regularize:
            if not each.proximal:
                regularize(each, self._parameters())

    def after_step(self) -> None:
        """The part of `step` that comes after ``optimizer.step()``.

        Raises:
            BadInput: `before_step` was not called.
        """
        if self._orders is None:
            raise BadInput("after_step comes after before_step and the optimizer's step; before_step was not called")
        orders, self._orders = self._orders, None
        self.steps += 1
        self._view.steps = self.steps
        self._compare()
        proximal = [each for each in orders.regularize if each.proximal]
        if proximal and stepped(self.optimizer):
            self._keep_zero()  # what the optimizer makes of it is no part of a row's norm
            for each in proximal:
                shrink_(each, self._parameters(), self.optimizer, self._copies)
        self._keep_zero()
        self._act(replace(orders, remember=False))
        self._settle()
        if self._open and self.finished and any(map(_empties, self.method.body.walk())):
            self._tell_pattern()  # it has changed since the last choice

    def train_with(self, optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer]) -> None:
        """Go on with another optimizer of this very model (all of them in a list, where there are several), for
        trainers that make theirs after they have loaded the weights.

        Raises:
            BadInput: it holds none of the model's parameters, or not all that a cut will exchange; or it would lose the
                method's penalties.
        """
        one: torch.optim.Optimizer = joined(optimizer)
        _same_parameters(self.model, one)
        check_closure(self.method, one)
        if self._view.graph is not None:
            check_cut(self.method, self._view, one)
        self.optimizer = one
        self._snapshot.train_with(one)

    def release(self) -> None:
        """Let go of the model when the run is finished: what was masked may grow again, and gets gradients. Until then
        zeros are held for as long as somebody calls `step`, and their gradients for as long as the run is there.

        Raises:
            BadInput: it is not finished.
        """
        if not self.finished:
            raise BadInput(f"{self.method.name} is not done: go on until run.finished, or drop the run")
        self._masked.put(None)
        self._zeros.release()

    def close(self) -> None:
        """Let go of what was kept of the data, in memory and in files. It is made again if it is needed."""
        if self._view.looks is not None:
            self._view.looks.forget()

    def run_at_once(self) -> None:
        """Carry out a method that takes no training steps (used by :func:`niwaki.prune`)."""
        try:
            while not self.finished:
                self._act(self._advance())
        finally:
            self.close()  # where this failed, a traceback or a cycle may hold the run for long, and its files

    # -- resuming ---------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Plain data from which :meth:`load_state_dict` goes on bit for bit, together with the model's and the
        optimizer's own states."""
        return {
            "version": VERSION,
            "method": to_json(self.method),
            "steps": self.steps,
            "finished": self._over,
            "due": self._due,
            "state": copy.deepcopy(self._state),
            "chosen": {n: c.clone() if isinstance(c, Tensor) else list(c) for n, c in self._view.chosen.items()},
            "pressure": dict(self._view.pressure),
            "kept_pressure": dict(self._view.kept_pressure),
            "asked": self._view.asked,
            "masked": None if self._masked.plan is None else self._masked.plan.to_json(),
            "zeroed": {name: mask.clone() for name, mask in self._zeros.gone.items()},
            "moved": {name: moved.clone() for name, moved in self._moves.sums.items()},
            "remembered": self._snapshot.state_dict(),
            "unseen": self._snapshot.unseen.state_dict(),
            "copies": self._copies.keys,
            "plans": [p.to_json() for p in self._plans],
            "drawn": {} if self._view.looks is None else self._view.looks.source.state_dict(),
        }

    def whole_state(self) -> dict[str, Any]:
        """`state_dict` and the averaged copy, for trainers whose checkpoints have no other place for that."""
        return {**self.state_dict(), "average": self._average.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint. Call it on a run made with a fresh dense model, *before* loading the model's and
        the optimizer's states: cuts that were made are made again, so that those fit.

        Raises:
            BadInput: the state belongs to another method or another release, or to a model that was not cut as this one
                was.
        """
        if state.get("version") != VERSION:
            raise BadInput(f"this run state has version {state.get('version')!r}, this release reads {VERSION}")
        if state["method"] != to_json(self.method):
            told = "; ".join(unlike(state["method"], to_json(self.method)))
            raise BadInput(f"this run state belongs to another method than this {self.method.name}: {told}")
        plans = [Plan.from_json(plan) for plan in state["plans"]]
        if [plan.to_json() for plan in plans[: len(self._plans)]] != [plan.to_json() for plan in self._plans]:
            raise BadInput(
                f"this run has made {counted(len(self._plans), 'cut')}, and the run state knows of {len(plans)}, which "
                "do not begin with them: load it into a run on a fresh, dense model"
            )
        due = state.get("due", False)
        for plan in plans[len(self._plans) :]:
            self._carry_out(plan, last=state["finished"] and not due)
        self._over, self._due = state["finished"], due
        self.steps = self._view.steps = state["steps"]
        self._state = copy.deepcopy(state["state"])
        self._view.chosen = self._there(state["chosen"])
        self._view.pressure = dict(state["pressure"])
        self._view.kept_pressure = dict(state["kept_pressure"])
        self._view.asked = state["asked"]
        self._masked.put(None if state["masked"] is None else Plan.from_json(state["masked"]))
        self._zeros.release()  # of a run that has gone further, none but those of the state are gone
        self._zeros.put({n: torch.as_tensor(mask) for n, mask in self._there(state["zeroed"]).items()})
        self._moves.put({n: torch.as_tensor(moved) for n, moved in self._there(state["moved"]).items()})
        self._snapshot.load_state_dict(state["remembered"])
        if "unseen" in state:
            self._snapshot.unseen.load_state_dict(state["unseen"])
        self._copies.keys = state.get("copies")
        self._pressure, self._orders = None, None
        self._average.load_state_dict(state.get("average", {}))
        if self._view.looks is not None:
            self._view.looks.source.load_state_dict(state["drawn"])

    def _there(self, chosen: Chosen) -> Chosen:
        """What was read from a checkpoint, on the devices where the weights are now."""
        tensors = self._parameters()
        return {n: c.to(tensors[n].device) if isinstance(c, Tensor) else tuple(c) for n, c in chosen.items()}

    def _agree(self, what: str, value: Any) -> None:
        """Raise :class:`RanksDiffer` unless all ranks have the same."""
        self.ranks.agree(
            what, "" if self.ranks.size == 1 else digest(value), lambda: why(self.ranks, self.method, self.model)
        )

    # -- acting -----------------------------------------------------------------------------------------------

    def _advance(self) -> Orders:
        """Ask the method what is to be done in this step; carry out at once what it waits for."""
        orders, outcome = NOTHING, self._ask(self.method.body.step)
        while outcome.again:
            self._act(replace(outcome.orders, press=(), regularize=()))
            orders += Orders(press=outcome.orders.press, regularize=outcome.orders.regularize)
            outcome = self._ask(self.method.body.step)
        return orders + outcome.orders

    def _settle(self) -> None:
        """Do what takes no time and comes after the step that has been made."""
        again = not self._over
        while again:
            outcome = self._ask(self.method.body.settle)
            self._act(outcome.orders)
            again = outcome.again

    def _ask(self, how: Callable[[State, View], Outcome]) -> Outcome:
        before = self._view.chosen
        outcome = how(self._state, self._view)
        if self._view.chosen is not before:
            self._pressure = None
            self._agree("what is chosen", self._view.chosen)
        self._over = outcome.over
        return outcome

    def _act(self, orders: Orders) -> None:
        """Remember, rewind, write, mask, measure again and cut."""
        if orders.remember:
            self._snapshot.take()
        if orders.rewind:
            self._snapshot.bring_back(self.optimizer)
        for values in orders.write:
            self._write(values)
        if orders.rewind or orders.write:
            self._average.begin_again(self.model)
        for chosen in orders.mask:
            self._mask(chosen)
        if orders.mask:
            self._masked.forget(self.optimizer)
            self._zeros.forget(self.optimizer)
        if orders.mask or orders.rewind:
            self._keep_zero()
            self._average.hold(self._masked.plan, self._zeros.gone)
        if orders.reestimate is not None and self._view.looks is not None:
            self._view.looks.reestimate(self.graph, orders.reestimate)
            self._keep_zero()
        if orders.cut:
            self._due = True  # until it has been done: where it is refused, the next step tries again
            self._cut()

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        """New values in place of old ones."""
        model = bare(self.model)  # by every name: what is shared has several
        tensors: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
        tensors |= dict(model.named_buffers(remove_duplicate=False))
        for name, value in values.items():
            local(tensors[name]).copy_(part(value, tensors[name]))

    def _mask(self, chosen: Chosen) -> None:
        """What is chosen joins what is kept zero already."""
        if "weights" in self._of:
            tell_if_hardly(self.method.name, parted(self._view, "weights"))
            self._zeros.join({name: torch.as_tensor(gone) for name, gone in chosen.items()})
            self._tell_pattern()
            return
        plan = self._plan(chosen)
        if self._view.looks is not None and any(self.graph[name].changes_statistics for name in chosen):
            self._view.looks.changed()
        self._masked.join(plan)

    def _tell_pattern(self) -> None:
        if self._view.recording and self._zeros.gone:
            self._view.note(event="pattern", **self._zeros.pattern())

    def _parameters(self) -> dict[str, Tensor]:
        """By the names that they have outside wrappers (``torch.compile``, data parallelism)."""
        return dict(bare(self.model).named_parameters())

    def _keep_zero(self) -> None:
        """What is masked is zero, whatever the optimizer made of it."""
        self._masked.hold()
        self._zeros.hold()

    def _press(self) -> Pressure:
        if self._pressure is None:
            groups = {g.name: g for g in self._graph.groups} if self._graph is not None else {}
            self._pressure = Pressure(groups, self._view.chosen, self._parameters())
        return self._pressure

    def _plan(self, chosen: Chosen) -> Plan:
        units = {name: c for name, c in chosen.items() if not isinstance(c, Tensor)}
        return make_plan(self.graph, units, {"method": to_json(self.method), "steps_trained": self.steps})

    def _cut(self) -> None:
        """What is chosen goes, and of groups that have no choice now what is masked: it would come back to life."""
        now = {name: units for name, units in self._view.chosen.items() if len(units)}
        ratios = parted(self._view, "units")
        self._carry_out(self._plan(self._masked.beside(now) | now), last=self._over)
        tell_if_hardly(self.method.name, ratios)
        self._view.note(event="cut", plan=self._plans[-1].fingerprint, parted=ratios)
        self._view.chosen, self._view.pressure, self._view.kept_pressure = {}, {}, {}

    def _carry_out(self, plan: Plan, *, last: bool) -> None:
        """Cut. After the ``last`` one no graph is made: what it leaves need not have one."""
        self._agree("the plan of a cut", plan.to_json())
        with self.ranks.every("a cut"):
            check_wrapped(self.model)
            self._average.check(plan)
            self.receipt = cut_(replica(self.model), plan, self.optimizer)
            wrapped_again(self.model)
            self._average.cut(plan)
        self._plans.append(plan)
        self._due, self._fresh = False, True
        self._masked.put(None)
        self._pressure = None
        if self._view.looks is not None:
            self._view.looks.forget()
        self._graph = self._view.graph = None if last else trace(replica(self.model), self.inputs)

    def _compare(self) -> None:
        """One step after a cut, see that all ranks still train one model: a wrapper that this run was not given goes on
        with the old parameters, and averages no gradients of the new."""
        if self._fresh and self.ranks.size > 1 and not fully_sharded(self.model):
            self._agree("a sample of the weights one step after a cut", sample(self.model, 64))
        self._fresh = False


def _empties(part: Part) -> bool:
    """Does it make zeros of its own, beside those that are chosen?"""
    return isinstance(part, Regularize) and part.proximal and part.factor > 0


def _same_parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(id(p) in held for p in model.parameters()):
        raise BadInput("the optimizer holds none of the model's parameters; was it made for another copy of the model?")
