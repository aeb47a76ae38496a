"""The coupling graph as users meet it: groups, what is blocked and why, coverage, costs."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from torch import Tensor, nn

from niwaki.errors import BadInput, IllegalPlan, NothingToPrune, nearest
from niwaki.graph.couple import Coupling, bind, related
from niwaki.graph.explain import Chain, Web, chain_to, first_ties
from niwaki.graph.grouping import build_groups
from niwaki.graph.labels import Reason
from niwaki.graph.ledger import Cost
from niwaki.graph.observe import Observation
from niwaki.units import Axis, Group, Selection


@dataclass(frozen=True)
class Verdict:
    """What can become of one axis. ``str()`` gives the explanation in full sentences."""

    axis: Axis
    status: str  # "prunable", "blocked" or "partly"
    groups: tuple[str, ...]
    reasons: tuple[Reason, ...]
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Coverage:
    """The share (0 to 1) of parameters and of multiply-adds that lie on a prunable axis."""

    params: float
    macs: float


class Graph:
    """Everything that one trace of a model says about what can be removed. Immutable.

    ``groups``: what is offered. ``blocked``: for every axis with indices that may not go, the first reason.
    """

    def __init__(
        self,
        observation: Observation,
        model: nn.Module,
        denied: Mapping[str, Reason] | None = None,
        *,
        configs: bool = False,
        guess: bool = True,
    ) -> None:
        """``configs``: numbers of modules' ``config`` objects follow a cut as well as the modules' own. ``guess``:
        slices that look like one of equal parts are taken to be that."""
        self.observation, self.model, self.configs, self.guess = observation, model, configs, guess
        self.model_name = type(model).__name__
        self.ledger = observation.ledger
        self.shapes, self.aliases = observation.shapes, observation.aliases
        self.denied = dict(denied or {})
        self.bound = [n for n in self.ledger.numbers if configs or not n.attribute.startswith("config.")]
        self._related = related(self.ledger, guess=guess)
        self.coupling: Coupling = bind(self._related, self.bound)
        every, units = build_groups(self.ledger, self.coupling)
        self._all_groups = every
        self._only_trained = _only_trained(every, observation.late)
        self._units = {g.name: u for g, u in zip(every, units, strict=True)}
        self.groups: tuple[Group, ...] = tuple(g for g in every if g.name not in {*self.denied, *self._only_trained})

    def without(self, denied: Mapping[str, Reason]) -> Graph:
        """The same graph with some groups withdrawn for a reason (the dry run's way to say no)."""
        other = copy.copy(self)
        for name in ("_offered", "prunable", "blocked", "coverage"):
            other.__dict__.pop(name, None)
        other.denied = {**self.denied, **denied}
        other.groups = tuple(g for g in self.groups if g.name not in denied)
        return other

    def limited(self, least: Mapping[str, int]) -> Graph:
        """The same graph where so many units of some groups must stay."""
        other = self.without({})
        other.groups = tuple(
            replace(g, least=max(g.least, least[g.name])) if g.name in least else g for g in self.groups
        )
        return other

    def __getitem__(self, name: str) -> Group:
        """The group called ``name``."""
        for group in self.groups:
            if group.name == name:
                return group
        names = [g.name for g in self.groups]
        raise BadInput(f"no group is called {name!r}{nearest(name, names) or '.'} Groups: {', '.join(names)}.")

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The model's parameters and buffers as they are now, by name (shared ones once)."""
        yield from self.model.named_parameters()
        yield from self.model.named_buffers()

    # -- what a choice of units means -------------------------------------------------------------------

    def removed_atoms(self, selection: Selection) -> np.ndarray:
        """Bool per atom: does it go with the chosen units?"""
        rows = [self._units[name][list(chosen)] for name, chosen in selection.items() if len(chosen)]
        if not rows:
            return np.zeros(self.ledger.size, bool)
        return np.asarray(self.coupling.units[np.concatenate(rows)].sum(axis=0)).ravel() > 0

    def atoms_gone(self, removed: Mapping[Axis, Sequence[int]]) -> np.ndarray:
        """Bool per atom: does it go when these indices go? (Also those that belong to no tensor.)"""
        real, gone = np.zeros(self.ledger.size, np.int64), np.zeros(self.ledger.size, np.int64)
        for axis, ids in self.ledger.axes.items():
            real[ids] = 1
            gone[ids[list(removed.get(axis, ()))]] = 1
        units = self.coupling.units.astype(np.int64)
        whole = (units @ gone == units @ real) & (units @ gone > 0)
        return (gone > 0) | (np.asarray(units[whole].sum(axis=0)).ravel() > 0)

    def removed(self, selection: Selection) -> dict[Axis, tuple[int, ...]]:
        """Ascending indices that go, for every axis that loses any."""
        gone = self.removed_atoms(selection)
        found = ((axis, np.flatnonzero(gone[ids])) for axis, ids in self.ledger.axes.items())
        return {axis: tuple(index.tolist()) for axis, index in found if index.size}

    def numbers(self, selection: Selection) -> dict[tuple[str, str], tuple[int, int]]:
        """Modules' whole numbers that change: (module, attribute) to the value before and after.

        Raises:
            IllegalPlan: one number would have to be two at once.
        """
        kept = ~self.removed_atoms(selection)
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for number in self.bound:
            lengths = {self.coupling.length(ids, kept) for ids in number.extents}
            if len(lengths) > 1:
                raise IllegalPlan(
                    f"{number.module}.{number.attribute} = {number.value} stands for several lengths, which the choice "
                    f"makes unequal: {sorted(lengths)}; nk.plan() makes a legal choice"
                )
            if lengths != {number.value}:
                found[number.module, number.attribute] = (number.value, lengths.pop())
        return found

    def macs(self, selection: Selection | None = None) -> int:
        """Multiply-adds of one forward pass on the traced inputs, after removing the chosen units."""
        return self._macs(self.removed_atoms(selection or {}))

    def macs_without(self, removed: Mapping[Axis, Sequence[int]]) -> int:
        """The same after removing these indices, which a plan of several steps knows, and no units."""
        return self._macs(self.atoms_gone(removed))

    def _macs(self, gone: np.ndarray) -> int:
        return sum(cost.macs(~gone) for cost in self._costs)

    @cached_property
    def _costs(self) -> tuple[Cost, ...]:
        """The costs, with two factors of one grid (heads, and dimensions of a head) counted together at its parent: the
        rows of a loose grid lose entries that its inner factor knows nothing of."""
        component = self.coupling.component
        parents = {
            frozenset(component[f].tobytes() for f in g.factors): g.parent.ravel()
            for g in self.ledger.grids
            if len(g.factors) == 2
        }
        return tuple(replace(c, axes=_joined(c.axes, component, parents)) for c in self.ledger.costs)

    def params(self, selection: Selection | None = None) -> int:
        """Parameters and buffers that stay, in entries (shared tensors once, buffers excluded)."""
        atoms, axis, names = self._parameter_axes
        lost = np.bincount(axis[self.removed_atoms(selection or {})[atoms]], minlength=len(names))
        sizes: dict[str, int] = dict.fromkeys(self.parameter_names, 1)
        for (name, dim), gone in zip(names, lost.tolist(), strict=True):
            sizes[name] *= self.shapes[name][dim] - gone
        return sum(sizes.values())

    @cached_property
    def _parameter_axes(self) -> tuple[np.ndarray, np.ndarray, list[Axis]]:
        """The atoms of all parameters in one array, the number of the axis that each belongs to, and the axes."""
        wanted = set(self.parameter_names)
        axes = [a for a in self.ledger.axes if a.name in wanted]
        atoms = [self.ledger.axes[a] for a in axes]
        return np.concatenate(atoms), np.repeat(np.arange(len(axes)), [a.size for a in atoms]), axes

    @cached_property
    def unbound(self) -> Coupling:
        """The coupling that the operations alone make, without the numbers of modules."""
        return bind(self._related) if self.bound else self.coupling

    @cached_property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters (not buffers), shared ones once."""
        return tuple(n for n in self.shapes if n not in self.aliases and n in self.observation.parameters)

    # -- what can go, what cannot ------------------------------------------------------------------------

    @cached_property
    def _offered(self) -> np.ndarray:
        """Bool per atom: does some unit on offer hold it?"""
        return self.removed_atoms({g.name: tuple(range(len(g))) for g in self.groups})

    @cached_property
    def prunable(self) -> dict[Axis, np.ndarray]:
        """Bool per index of every axis: does some group offer to remove it?"""
        return {axis: self._offered[ids] for axis, ids in self.ledger.axes.items()}

    @cached_property
    def blocked(self) -> dict[Axis, Reason]:
        """Every axis of which some index may not go, with the first reason."""
        firsts = {
            axis: int(self.ledger.axes[axis][int(np.argmin(offered))])
            for axis, offered in self.prunable.items()
            if offered.size and not offered.all()
        }
        return {axis: (self._withdrawn(axis) or self._why(axis, atom))[0] for axis, atom in firsts.items()}

    @cached_property
    def coverage(self) -> Coverage:
        """How much of the model the groups can reach."""
        shares = {axis: float(offered.mean()) if offered.size else 0.0 for axis, offered in self.prunable.items()}
        total = reached = 0.0
        for name in self.parameter_names:
            shape = self.shapes[name]
            entries = float(np.prod(shape))
            stays = np.prod([1 - shares.get(Axis(name, d), 0.0) for d in range(len(shape))])
            total, reached = total + entries, reached + entries * (1 - float(stays))
        macs = self.macs()
        fixed = sum(c.macs(~self._offered) for c in self._costs)
        return Coverage(reached / total if total else 0.0, 1 - fixed / macs if macs else 0.0)

    def explain(self, name: str, dim: int) -> Verdict:
        """Why an axis can or cannot be pruned, with the operations and source lines that made it so.

        Raises:
            BadInput: the model has no such tensor or dimension.
        """
        axis = self._axis(name, dim)
        offered = self.prunable[axis]
        groups = [g for g in self.groups if axis in g.entries]
        reasons = [] if offered.all() else self._reasons(axis, offered)
        status = "prunable" if offered.all() else "partly" if offered.any() else "blocked"
        lines = [f"{axis} ({offered.size} indices) of {self.model_name}: {status}."]
        for group in groups:
            lines += self._describe(group, axis)
        for count, reason, chain in _counted(reasons):
            lines.append(f"{count} of {offered.size} indices are blocked: {reason}")
            lines += [f"  by way of {step}" for step in chain.steps]
        return Verdict(axis, status, tuple(g.name for g in groups), tuple(r for _, r, _ in reasons), "\n".join(lines))

    def _describe(self, group: Group, axis: Axis) -> list[str]:
        lines = [f"In group {group}, together with:"]
        ties = first_ties(self.ledger, [m.axis for m in group.members])
        for member in group.members:
            if member.axis != axis:
                by = ties.get(member.axis)
                lines.append(f"  {member}" + (f", by {by}" if by else ""))
        if group.changes_statistics:
            lines.append("  A norm averages over these units: removing some changes the statistics of the others.")
        return lines

    def _axis(self, name: str, dim: int) -> Axis:
        name = self.aliases.get(name, name)
        if name not in self.shapes:
            raise BadInput(f"{self.model_name} has no tensor {name!r}{nearest(name, self.shapes)}")
        rank = len(self.shapes[name])
        if not -rank <= dim < rank:
            raise BadInput(f"{name!r} has {rank} dimensions (shape {self.shapes[name]}), asked for dimension {dim}")
        return Axis(name, dim % rank)

    def _reasons(self, axis: Axis, offered: np.ndarray) -> list[tuple[int, Reason, Chain]]:
        """For the indices that are not offered: (index, reason, how the reason reaches it)."""
        ids, withdrawn = self.ledger.axes[axis], self._withdrawn(axis)
        found: list[tuple[int, Reason, Chain]] = []
        cache: dict[int, tuple[Reason, Chain]] = {}
        for index in np.flatnonzero(~offered).tolist():
            atom = int(ids[index])
            component = int(self.coupling.component[atom])
            if component not in cache:
                cache[component] = withdrawn or self._why(axis, atom)
            found.append((index, *cache[component]))
        return found

    def _withdrawn(self, axis: Axis) -> tuple[Reason, Chain] | None:
        """Why a group that the axis belongs to was withdrawn, if one was."""
        groups = {g.name: g for g in self._all_groups if axis in g.entries}
        refused = {**self._only_trained, **self.denied}
        reason = next((reason for name, reason in refused.items() if name in groups), None)
        return None if reason is None else (reason, Chain(()))

    @cached_property
    def _web(self) -> Web:
        return Web(self.ledger, self.coupling)

    def _why(self, axis: Axis, atom: int) -> tuple[Reason, Chain]:
        known = chain_to(self._web, atom)
        if known is not None:
            return known
        if self.shapes[axis.name][axis.dim] == 1:
            return Reason("the axis has a single index"), Chain(())
        return Reason("nothing that the forward pass does to it says that it can go (was it used at all?)"), Chain(())

    # -- as text --------------------------------------------------------------------------------------------

    def require_groups(self) -> None:
        """Raise :class:`NothingToPrune`, naming the three biggest causes, if there is no group at all."""
        if self.groups:
            return
        causes: Counter[str] = Counter()
        for axis, reason in self.blocked.items():
            causes[str(reason)] += int(np.prod(self.shapes[axis.name]))
        biggest = "; ".join(f"({k}) {text}" for k, (text, _) in enumerate(causes.most_common(3), start=1))
        raise NothingToPrune(
            f"nothing in {self.model_name} can be pruned. The biggest causes: {biggest or 'no parameters'}"
        )

    def __str__(self) -> str:
        coverage = self.coverage
        lines = [
            f"{self.model_name}: {len(self.groups)} groups, {sum(map(len, self.groups))} units; they reach "
            f"{coverage.params:.0%} of the parameters and {coverage.macs:.0%} of the multiply-adds."
        ]
        lines += [f"  {group}" for group in self.groups]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Graph({self.model_name}, {len(self.groups)} groups)"


def _only_trained(groups: Iterable[Group], late: frozenset[str]) -> dict[str, Reason]:
    """Groups inside the heads that training alone runs: to cut them spares nothing where the model is used."""
    reason = Reason("only training runs it")
    return {g.name: reason for g in groups if all(m.name in late for m in g.members)}


def _joined(
    axes: tuple[np.ndarray, ...], component: np.ndarray, parents: Mapping[frozenset[bytes], np.ndarray]
) -> tuple[np.ndarray, ...]:
    left = list(axes)
    for a, b in combinations(axes, 2):
        parent = parents.get(frozenset((component[a].tobytes(), component[b].tobytes())))
        if parent is not None and any(a is x for x in left) and any(b is x for x in left):
            left = [x for x in left if x is not a and x is not b] + [parent]
    return tuple(left)


def _counted(reasons: Iterable[tuple[int, Reason, Chain]]) -> list[tuple[int, Reason, Chain]]:
    """Reasons with the number of indices that each stops, biggest first."""
    counts: Counter[Reason] = Counter(reason for _, reason, _ in reasons)
    chains = {reason: chain for _, reason, chain in reasons}
    return [(count, reason, chains[reason]) for reason, count in counts.most_common()]


__all__ = ["Coverage", "Graph", "Verdict"]
