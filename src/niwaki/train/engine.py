"""Pruning in training: one object whose ``step()`` takes the place of ``optimizer.step()``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from niwaki.errors import BadInput
from niwaki.graph import Graph
from niwaki.graph.observe import Inputs
from niwaki.methods import Choose, Cut, Hold, Method, Press, Recover, Sensitive, Sequence, Spread, to_json
from niwaki.methods.parts import at_least
from niwaki.methods.view import NOTHING, Activity, Chosen, Of, Orders, Place, Sampling
from niwaki.scores import Score
from niwaki.surgery.cut import Receipt, cut_
from niwaki.surgery.decide import make_plan, select, within
from niwaki.surgery.masks import mask_
from niwaki.surgery.singles import check_own, offered, select_each, single_weights, worth_each, zero_
from niwaki.surgery.wrappers import bare
from niwaki.targets import Target
from niwaki.tracing import trace
from niwaki.train.looks import Looks, Loss, require
from niwaki.train.pressure import Pressure
from niwaki.units import Plan

Record = Callable[[dict[str, Any]], None]
VERSION = 2


class Pruning:
    """Carry out a method while a model trains.

    Call :meth:`step` where you would call ``optimizer.step()``, until :attr:`finished`. Penalties are added to the
    gradient as you leave it (clip before), masks hold after every step, and a cut takes the optimizer's state along.

    Args:
        model: trained in place, on any device. optimizer: the one that trains it. method: from ``nk.methods``.
        inputs: for tracing, as for :func:`niwaki.trace`.
        record: called with one dict per recorded figure (penalty, norms, …); for instance a list's ``append``.
        record_every: figures are recorded on every so many-th update of the method; at least 1.
        graph: a graph of this very model, if you have traced it already. (A method that prunes single weights needs
            none.)
        data: batches, for methods that look at data; as for :func:`niwaki.prune`. To go on bit for bit from a
            checkpoint it must give the same batches again.
        loss: of (model, batch) to one number with a gradient, for methods that need one.

    Raises:
        UnreachableTarget, NothingToPrune, BadInput: now, not after hours, if the method cannot be carried out.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        method: Method,
        inputs: Inputs,
        *,
        record: Record | None = None,
        record_every: int = 1,
        graph: Graph | None = None,
        data: Iterable[Any] | None = None,
        loss: Loss | None = None,
    ) -> None:
        if not isinstance(method, Method):
            raise BadInput(f"method must come from nk.methods, not {type(method).__name__}")
        require(method, data, loss)
        at_least(record_every, 1, "record_every")
        self.model, self.optimizer, self.method, self.inputs = model, optimizer, method, inputs
        self._of = _of(method)
        self._graph = trace(model, inputs) if graph is None and "units" in self._of else graph
        self.receipt: Receipt | None = None
        self.finished = False
        self.steps = 0
        looks = None if data is None or not method.needs else Looks(model, inputs, data, loss)
        self._view = EngineView(model, self._graph, record, record_every, looks)
        self._state = method.body.begin(self._view)
        self._masked: Plan | None = None
        self._zeroed: dict[str, Tensor] = {}
        self._plans: list[Plan] = []
        self._pressure: Pressure | None = None
        _rehearse(method, self._view)
        _same_parameters(model, optimizer)

    @property
    def graph(self) -> Graph:
        """The coupling graph of the model as it is now.

        Raises:
            BadInput: the method prunes single weights, so that no graph was made.
            NothingToPrune: the last cut has left nothing that could go.
        """
        if self._graph is None and "units" in self._of:
            self._graph = trace(self.model, self.inputs)
        if self._graph is None:
            raise BadInput(f"{self.method.name} prunes single weights and made no graph; nk.trace makes one")
        return self._graph

    @property
    def chosen(self) -> Chosen:
        """What is chosen now: units by group; of single weights, bool tensors by tensor name, true where one goes."""
        return dict(self._view.chosen)

    @property
    def pressure(self) -> Mapping[str, float]:
        """The penalty factor on what is chosen now, by group (tensor); none when the run is finished."""
        return {} if self.finished else dict(self._view.pressure)

    @property
    def kept_pressure(self) -> Mapping[str, float]:
        """The penalty factor on all the rest now, by group (tensor); below 0, it is let grow."""
        return {} if self.finished else dict(self._view.kept_pressure)

    def step(self, scaler: Any = None) -> None:
        """Press, let the optimizer step, keep masks, and cut when it is time.

        ``scaler``: a gradient scaler of mixed precision; its gradients are unscaled before the penalty is added.
        """
        orders = NOTHING if self.finished else self._advance()
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        for pressing in orders.press:
            self._press().add(pressing)
        if scaler is not None:
            scaler.step(self.optimizer)
        else:
            self.optimizer.step()
        self.steps += 1
        self._view.steps = self.steps
        self._keep_zero()
        self._act(orders)
        while self._rest_takes_no_time():
            self._act(self._advance())

    def run_at_once(self) -> None:
        """Carry out a method that takes no training steps (used by :func:`niwaki.prune`)."""
        while not self.finished:
            self._act(self._advance())

    # -- resuming ---------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Plain data from which :meth:`load_state_dict` goes on bit for bit, together with the model's and the
        optimizer's own states."""
        return {
            "version": VERSION,
            "method": to_json(self.method),
            "steps": self.steps,
            "finished": self.finished,
            "state": copy.deepcopy(self._state),
            "chosen": {n: c.clone() if isinstance(c, Tensor) else list(c) for n, c in self._view.chosen.items()},
            "pressure": dict(self._view.pressure),
            "kept_pressure": dict(self._view.kept_pressure),
            "asked": self._view.asked,
            "masked": None if self._masked is None else self._masked.to_json(),
            "zeroed": {name: mask.clone() for name, mask in self._zeroed.items()},
            "plans": [p.to_json() for p in self._plans],
            "drawn": 0 if self._view.looks is None else self._view.looks.source.drawn,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint. Call it on a run made with a fresh dense model, *before* loading the model's and
        the optimizer's states: cuts that were made are made again, so that those fit.

        Raises:
            BadInput: the state belongs to another method or another release.
        """
        if state.get("version") != VERSION:
            raise BadInput(f"this run state has version {state.get('version')!r}, this release reads {VERSION}")
        if state["method"] != to_json(self.method):
            raise BadInput(f"this run state belongs to another method: {state['method']}, not {to_json(self.method)}")
        self.finished = state["finished"]  # before the cuts: what the last one left need not have a graph
        for plan in map(Plan.from_json, state["plans"][len(self._plans) :]):
            self._carry_out(plan)
        self.steps = self._view.steps = state["steps"]
        self._state = copy.deepcopy(state["state"])
        self._view.chosen = self._there(state["chosen"])
        self._view.pressure = dict(state["pressure"])
        self._view.kept_pressure = dict(state["kept_pressure"])
        self._view.asked = state["asked"]
        self._masked = None if state["masked"] is None else Plan.from_json(state["masked"])
        self._zeroed = {n: torch.as_tensor(mask) for n, mask in self._there(state["zeroed"]).items()}
        self._pressure = None
        if self._view.looks is not None:
            self._view.looks.source.forward_to(state.get("drawn", 0))

    def _there(self, chosen: Chosen) -> Chosen:
        """What was read from a checkpoint, on the devices where the weights are now."""
        tensors = self._parameters()
        return {n: c.to(tensors[n].device) if isinstance(c, Tensor) else tuple(c) for n, c in chosen.items()}

    # -- acting -----------------------------------------------------------------------------------------------

    def _advance(self) -> Orders:
        """Ask the method what is to be done in this step; carry out at once what it waits for."""
        before, orders = self._view.chosen, NOTHING
        outcome = self.method.body.step(self._state, self._view)
        while outcome.again:
            self._act(replace(outcome.orders, press=()))
            orders += Orders(press=outcome.orders.press)
            outcome = self.method.body.step(self._state, self._view)
        if self._view.chosen is not before:
            self._pressure = None
        self.finished = outcome.over
        return orders + outcome.orders

    def _act(self, orders: Orders) -> None:
        """Write, mask, measure again and cut."""
        for values in orders.write:
            self._write(values)
        for chosen in orders.mask:
            self._mask(chosen)
        if orders.mask:
            self._keep_zero()
        if orders.reestimate is not None and self._view.looks is not None:
            self._view.looks.reestimate(self.graph, orders.reestimate)
            self._keep_zero()
        if orders.cut:
            self._cut()

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        """New values in place of old ones."""
        tensors = {**self._parameters(), **dict(bare(self.model).named_buffers())}
        for name, value in values.items():
            tensors[name].copy_(value)

    def _mask(self, chosen: Chosen) -> None:
        """What is chosen joins what is kept zero already."""
        if "weights" in self._of:
            for name, gone in chosen.items():
                old = self._zeroed.get(name)
                self._zeroed[name] = torch.as_tensor(gone) if old is None else old | torch.as_tensor(gone)
            return
        plan = self._plan(chosen)
        if self._view.looks is not None and any(self.graph[name].changes_statistics for name in chosen):
            self._view.looks.changed()
        removed = {axis: set(gone) for axis, gone in plan.removed.items()}
        for axis, gone in self._masked.removed.items() if self._masked is not None else ():
            removed[axis] = removed.get(axis, set()) | set(gone)
        self._masked = replace(plan, removed={axis: tuple(sorted(gone)) for axis, gone in removed.items()})

    def _parameters(self) -> dict[str, Tensor]:
        """By the names that they have outside wrappers (``torch.compile``, data parallelism)."""
        return dict(bare(self.model).named_parameters())

    def _keep_zero(self) -> None:
        """What is masked is zero, whatever the optimizer made of it."""
        if self._masked is not None:
            mask_(self.model, self._masked)
        if self._zeroed:
            zero_(self._parameters(), self._zeroed)

    def _rest_takes_no_time(self) -> bool:
        """Are the last parts of the method's outer sequence next? They run with the step before them."""
        body = self.method.body
        if self.finished or not isinstance(body, Sequence) or self._state["inner"] is not None:
            return False
        return not any(part.takes_time for part in body.parts[self._state["index"] :])

    def _press(self) -> Pressure:
        if self._pressure is None:
            groups = {g.name: g for g in self._graph.groups} if self._graph is not None else {}
            self._pressure = Pressure(groups, self._view.chosen, self._parameters())
        return self._pressure

    def _plan(self, chosen: Chosen) -> Plan:
        units = {name: c for name, c in chosen.items() if not isinstance(c, Tensor)}
        return make_plan(self.graph, units, {"method": to_json(self.method), "steps_trained": self.steps})

    def _cut(self) -> None:
        self._carry_out(self._plan(self._view.chosen))
        self._view.note(event="cut", plan=self._plans[-1].fingerprint)
        self._view.chosen, self._view.pressure, self._view.kept_pressure = {}, {}, {}

    def _carry_out(self, plan: Plan) -> None:
        self.receipt = cut_(self.model, plan, self.optimizer)
        self._plans.append(plan)
        self._masked, self._pressure = None, None
        if self._view.looks is not None:
            self._view.looks.forget()
        self._graph = self._view.graph = None if self.finished else trace(self.model, self.inputs)


class EngineView:
    """What the engine lets a method see (:class:`niwaki.methods.view.View`)."""

    def __init__(
        self,
        model: nn.Module,
        graph: Graph | None,
        record: Record | None,
        record_every: int,
        looks: Looks | None = None,
    ) -> None:
        self.model, self.graph, self.steps, self.looks = model, graph, 0, looks
        self.chosen: Chosen = {}
        self.pressure: dict[str, float] = {}
        self.kept_pressure: dict[str, float] = {}
        self._record, self._every = record, record_every
        self.asked = 0  # how often a part asked whether to record

    @property
    def recording(self) -> bool:
        self.asked += 1
        return self._record is not None and (self.asked - 1) % self._every == 0

    def worth(self, score: Score, of: Of = "units") -> dict[str, Tensor]:
        if of == "weights":
            return worth_each(score, single_weights(self.model))
        tensors = dict(self.known.tensors())
        return {g.name: score(g, tensors) for g in self.known.groups}

    def offered(self, target: Target, of: Of = "units") -> list[str]:
        if of == "weights":
            return offered(single_weights(self.model), target)
        return [g.name for g in target.offers(self.known.groups)]

    def select(self, worth: Mapping[str, Tensor], target: Target, of: Of = "units", *, as_is: bool = False) -> Chosen:
        if of == "weights":
            return select_each(worth, target)
        if len(worth) < len(self.known.groups):  # the target's patterns may name groups that are not up for choice
            target = within(target, [g.name for g in target.offers(self.known.groups) if g.name in worth])
        return select(self.known, worth, target, as_is=as_is)

    def places(self, target: Target, sampling: Sampling) -> list[Place]:
        return self._looks.places(self.known, target, sampling)

    def activity(self, name: str, sampling: Sampling, *, moments: bool = False) -> Activity:
        return self._looks.activity(self.known, name, sampling, moments=moments, steps=self.steps)

    def sensitivity(self, target: Target, sampling: Sampling, *, each: bool) -> Mapping[str, Tensor]:
        return self._looks.sensitivity(self.known, target, sampling, each=each)

    def note(self, **figures: Any) -> None:
        if self._record is not None:
            self._record({"step": self.steps, **figures})

    @property
    def _looks(self) -> Looks:
        assert self.looks is not None
        return self.looks

    @property
    def known(self) -> Graph:
        assert self.graph is not None
        return self.graph


def _of(method: Method) -> frozenset[Of]:
    """What a method prunes: units, single weights.

    Raises:
        BadInput: it would cut single weights, or it mixes both.
    """
    parts = list(method.body.walk())
    found: frozenset[Of] = frozenset(part.of for part in parts if isinstance(part, (Choose, Press, Spread, Hold)))
    if "weights" in found and any(isinstance(part, Cut) for part in parts):
        raise BadInput(
            f"{method.name} chooses single weights, and has a cut. Single weights can only be zero: end with Mask(), "
            "and prune units in a run of its own."
        )
    if len(found) > 1:
        told = ", ".join(f"{type(part).__name__} of {part.of}" for part in parts if hasattr(part, "of"))
        raise BadInput(
            f"{method.name} has parts for units and parts for single weights ({told}). Give all of them the same 'of', "
            "and prune the others in a run of its own."
        )
    return found or frozenset(("units",))


def rehearse(method: Method, graph: Graph) -> None:
    """Check every choice of a method against a model before any step is spent.

    Raises:
        UnreachableTarget, BadInput: a choice that cannot be made.
    """
    _of(method)
    _rehearse(method, EngineView(graph.model, graph, None, 1))


def _rehearse(method: Method, view: EngineView) -> None:
    for part in method.body.walk():
        if isinstance(part, Choose):
            chosen = view.select(view.worth(part.score, part.of), part.target, part.of)
            if part.of == "weights":
                check_own(view.model, chosen)
        elif isinstance(part, (Recover, Sensitive)) and view.looks is not None:
            _rehearse_looking(part, view, view.looks)


def _rehearse_looking(part: Recover | Sensitive, view: EngineView, looks: Looks) -> None:
    """See that there are groups to look at, and tell which are left alone."""
    graph = view.known
    if isinstance(part, Recover):
        looks.places(graph, part.target, part.sampling)
        if part.compensate or part.selector.moments:
            what = "compensation" if part.compensate else "greedy selection from inner products"
            looks.check_moments(graph, part.target, part.sampling, what)
    for name, reason in looks.left_out(graph, part.target, part.sampling).items():
        view.note(event="left", group=name, reason=reason)


def _same_parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(id(p) in held for p in model.parameters()):
        raise BadInput("the optimizer holds none of the model's parameters; was it made for another copy of the model?")
