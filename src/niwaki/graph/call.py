"""One observed operation, with the verbs in which a rule says what it means for the axes of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from niwaki.errors import FaultyRule
from niwaki.graph.labels import Atoms, Fixed, Free, Label, Reason, Site
from niwaki.graph.ledger import Extent, Ledger, Made, Statistic
from niwaki.graph.work import Length, Work

Clean = Literal["all", "any", "none"]
"""When is a result zero at masked positions: if all inputs are, if any is, or never."""

Domains = MutableMapping[Tensor, np.ndarray]
"""For tensors of whole numbers that are positions (of ``topk``, say): the atoms that they count."""
LabelsOf = Callable[[Tensor], "list[Label] | None"]
GiveLabels = Callable[[Tensor, "list[Label]"], None]


class Call:
    """An ATen operation, its arguments by name, its result, and the relations that a rule may write.

    ``call["weight"]`` is the argument of that name in the operator's schema; ``call.out`` is what it returned.
    """

    def __init__(
        self,
        op: str,
        arguments: dict[str, Any],
        out: Any,
        site: Site,
        ledger: Ledger,
        labels_of: LabelsOf,
        give: GiveLabels,
        turn: tuple[str, int] | None = None,
        domains: Domains | None = None,
        lengths: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        self.op, self.arguments, self.out, self.site, self.ledger = op, arguments, out, site, ledger
        self._labels_of, self._give, self._turn = labels_of, give, turn
        self._domains: Domains = {} if domains is None else domains
        self._lengths = lengths or {}
        self.pending: list[tuple[Tensor, Callable[[], object]]] = []
        self._asked: set[int] = set()

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.arguments.get(name, default)

    # -- reading and giving labels -------------------------------------------------------------------------

    def labels(self, tensor: Tensor) -> list[Label]:
        """One label per dimension. A tensor of unknown origin is fixed: its values may differ by position."""
        known = self._labels_of(tensor)
        if known is not None:
            return list(known)
        reason = Reason(
            "a constant tensor that is neither a parameter, a buffer nor computed from the input",
            self.site,
            "Register it as a buffer if it has one entry per channel.",
        )
        return [Free() if n == 1 else Fixed(reason) for n in tensor.shape]

    def give(self, tensor: Tensor, labels: Sequence[Label]) -> None:
        """Label a result. Lengths must agree with the tensor's shape (checked: a rule that errs fails here)."""
        labels = list(labels)
        if len(labels) != tensor.dim():
            raise FaultyRule(f"rule for {self.op!r}: {len(labels)} labels for shape {tuple(tensor.shape)}")
        for label, n in zip(labels, tensor.shape, strict=True):
            if isinstance(label, Atoms) and label.ids.size != n:
                raise FaultyRule(f"rule for {self.op!r}: {label.ids.size} atoms for a dimension of {n}")
        self._give(tensor, labels)

    def tensors(self) -> list[Tensor]:
        """All tensor arguments, in order (lists of tensors included)."""
        return list(_tensors_in(self.arguments.values()))

    def results(self) -> list[Tensor]:
        """All tensor results, in order."""
        return list(_tensors_in([self.out]))

    def lengths(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of an argument before the operation, which may have changed it in place (``squeeze_``)."""
        return self._lengths.get(id(tensor), tuple(tensor.shape))

    # -- relations ----------------------------------------------------------------------------------------

    def meet(self, labels: Iterable[Label], clean: Clean = "all") -> Label:
        """Tie the labels position by position and return the common one.

        Atoms that meet a fixed dimension are blocked; a free one adapts.
        """
        labels = list(labels)
        atoms = [x for x in labels if isinstance(x, Atoms)]
        fixed = next((x for x in labels if isinstance(x, Fixed)), None)
        if fixed is not None:
            for label in atoms:
                self.block(label, fixed.reason)
            return fixed
        free = [x for x in labels if isinstance(x, Free)]
        lengths = frozenset[int]().union(*(x.lengths for x in free))
        if not atoms:
            return Free(bool(free) and all(x.zero for x in free), lengths)
        self._stay_alike(atoms, lengths)
        for label in atoms[1:]:
            self.ledger.tie(atoms[0].ids, label.ids, self.site)
        pure = [x.clean if isinstance(x, Atoms) else isinstance(x, Free) and x.zero for x in labels]
        return Atoms(atoms[0].ids, {"all": all(pure), "any": any(pure), "none": False}[clean])

    def made(self, size: int, *, zero: bool = False) -> Free:
        """A dimension of alike positions that the operation makes; of more than one, the length has a name."""
        if size <= 1:
            return Free(zero)
        self.ledger.made.append(Made(size, self.site))
        return Free(zero, frozenset([len(self.ledger.made) - 1]))

    def stands(self, label: Free, ids: np.ndarray) -> Atoms:
        """These atoms stand for the positions of a made dimension: its length may follow theirs, and the number that
        it was made by."""
        atoms = Atoms(ids, label.zero)
        self._stay_alike([atoms], label.lengths)
        self.ledger.extents.append(Extent(ids, self.site.module))
        return atoms

    def _stay_alike(self, atoms: Iterable[Atoms], lengths: Iterable[int]) -> None:
        """Note what meets a made dimension. (Of another length, it is a part of that one.)"""
        for made in (self.ledger.made[k] for k in lengths):
            made.met.update((x.ids.tobytes(), x.ids) for x in atoms if x.ids.size == made.size)

    def contract(self, left: Label, right: Label) -> None:
        """Sum over a dimension that both sides have: tie them, and see that masked positions add nothing."""
        atoms = [x for x in (left, right) if isinstance(x, Atoms)]
        vanish = any(x.clean for x in atoms) or any(isinstance(x, Free) and x.zero for x in (left, right))
        if atoms and not vanish:
            self.refuse(
                atoms,
                "a sum over values that do not vanish when their unit is masked",
                "Put the activation after the sum, or keep this layer out of the pruning.",
            )
            return
        self.meet([left, right])

    def summed(self, label: Label, common: Iterable[Label]) -> None:
        """Positions of ``label`` met those of another tensor in a sum; both had the dimensions ``common`` beside."""
        if isinstance(label, Atoms):
            self.ledger.beside([label.ids, *(x.ids for x in common if isinstance(x, Atoms))])

    def mixes(self, labels: Sequence[Label], dim: int) -> None:
        """Values along ``dim`` are mixed: the positions of all other dimensions mean the same in each of its rows."""
        beside = [x for k, x in enumerate(labels) if k != dim]
        self.ledger.beside([x.ids for x in beside if isinstance(x, Atoms)])

    def block(self, label: Label, reason: Reason) -> None:
        """Forbid the removal of the label's atoms."""
        if isinstance(label, Atoms):
            self.ledger.block(label.ids, reason)

    def refuse(self, labels: Iterable[Label], text: str, advice: str = "") -> Fixed:
        """Block several labels for a reason that lies in this operation; returns a fixed label for the result."""
        reason = Reason(text, self.site, advice)
        for label in labels:
            self.block(label, reason)
        return Fixed(reason)

    def refuse_if_used(self, result: Tensor, labels: Iterable[Label], text: str, advice: str = "") -> None:
        """Block the labels as soon as the values of ``result`` are read; its shape alone tells nothing of them."""
        self.when_used(result, partial(self.refuse, list(labels), text, advice))

    def when_used(self, result: Tensor, action: Callable[[], object]) -> None:
        """Write a relation as soon as the values of ``result`` are read, and not if nobody does."""
        self.pending.append((result, action))

    def fixed(self, text: str) -> Fixed:
        return Fixed(Reason(text, self.site))

    def play(self, label: Label, role: Literal["makes", "takes"], kind: str) -> None:
        """Say that the axes behind the label make or take units of this kind."""
        if isinstance(label, Atoms):
            self.ledger.play(label.ids, role, kind)

    def statistics(self, label: Label, dim: int) -> Label:
        """A norm, a mean or a softmax runs over the label's atoms, which are dimension ``dim`` of its input: what is
        left is then divided by something else. Returns the label, fixed if the call could not be found again.
        """
        if not isinstance(label, Atoms):
            return label
        if self._turn is None:
            return self.refuse([label], f"{self.op} inside a function of torch averages over this axis")
        function, turn = self._turn
        self.ledger.statistics.append(Statistic(label.ids, dim, function, turn))
        return label

    def at_least(self, label: Label, count: int) -> None:
        """So many positions must stay (``topk`` takes that many)."""
        if isinstance(label, Atoms):
            self.ledger.least.append((label.ids, count))

    def in_multiples_of(self, label: Label, count: int) -> None:
        """The kernel takes no other lengths."""
        if isinstance(label, Atoms) and count > 1:
            self.ledger.multiples.append((label.ids, count))

    def domain(self, tensor: Tensor) -> np.ndarray | None:
        """The atoms whose positions are the values of ``tensor``, if it is known to hold positions. A rule that asks
        sees to it that the values are used as positions of these very atoms."""
        self._asked.add(id(tensor))
        return self._domains.get(tensor)

    def refuse_numbers(self, passed: Tensor | None) -> None:
        """Block what is counted by positions that the operation takes for mere numbers: a cut counts anew.

        ``passed``: the argument whose values the result has."""
        for t in self.tensors():
            ids = self._domains.get(t)
            if ids is not None and t is not passed and id(t) not in self._asked:
                self.block(Atoms(ids), Reason(f"positions that were found are numbers for {self.op}", self.site))

    def counts(self, *lengths: int) -> None:
        """Say that the values of the result depend on these lengths, which belong to no units (a sum of ones): a group
        whose cut would change them is withdrawn."""
        place = (self.op, self.site.module, self.site.line)
        self.ledger.constants.setdefault(place, set()).add(tuple(str(n) for n in lengths))

    def give_domain(self, tensor: Tensor, ids: np.ndarray | None) -> None:
        """Say that the values of ``tensor`` are positions of ``ids``, found in this forward pass: after a cut other
        numbers stand for the same units by themselves."""
        if ids is not None:
            self._domains[tensor] = ids

    def hint(self, label: Label, kind: str) -> None:
        """Say what users call the units behind the label."""
        if isinstance(label, Atoms):
            self.ledger.hints.append((label.ids, kind))

    def virtual(self, length: int, *, clean: bool = False) -> Atoms:
        """A dimension that the code makes as long as it likes (an expanded one): its length may follow others."""
        ids = self.ledger.new(length)
        self.ledger.copies.add(ids.tobytes())
        return Atoms(ids, clean)

    def took(self, label: Label, positions: np.ndarray) -> None:
        """Of these atoms, the forward pass took those at ``positions``; what it takes of a table nowhere stays."""
        if isinstance(label, Atoms):
            everything = (label.ids, set(range(label.ids.size)), self.site)
            left = self.ledger.untaken.setdefault(label.ids.tobytes(), everything)[1]
            left.difference_update(positions.tolist())

    def suspect(self, label: Label) -> None:
        """The bounds of a slice of these atoms are numbers: the dry run must find out whether they follow a cut."""
        if isinstance(label, Atoms):
            self.ledger.suspects.append(label.ids)

    def cost(self, scale: int, *dims: tuple[Label, int], work: Work | None = None) -> None:
        """Count multiply-adds: ``scale`` × the (kept) length of each (label, length). ``work``: what is computed."""
        axes = []
        for label, length in dims:
            if isinstance(label, Atoms):
                axes.append(label.ids)
            else:
                scale *= length
        self.ledger.cost(scale, axes, self.site, work)

    @staticmethod
    def length(label: Label, length: int) -> Length:
        """How long a dimension is, as :class:`~niwaki.graph.work.Work` says it."""
        return label.ids if isinstance(label, Atoms) else length

    # -- common shapes of rules ---------------------------------------------------------------------------

    def pointwise(self, tensors: Sequence[Tensor], clean: Clean, out: Tensor | None = None) -> list[Label]:
        """Elementwise with broadcasting: equal positions are tied; the result's labels are given and returned."""
        out = self.results()[0] if out is None else out
        labelled = [(t, self.labels(t)) for t in tensors]
        has_scalar = any(t.dim() == 0 for t in tensors)
        result: list[Label] = []
        for k in range(out.dim()):
            back = out.dim() - k
            here = [x[-back] for t, x in labelled if t.dim() >= back and t.shape[-back] == out.shape[k]]
            short = any(t.dim() < back or t.shape[-back] != out.shape[k] for t, _ in labelled)
            label = self.meet(here, clean)
            # A broadcast operand (or a scalar) has the same value at masked positions: it vanishes there only by luck.
            spoils = clean == "none" or (clean == "all" and (short or has_scalar))
            result.append(label.soiled() if isinstance(label, Atoms) and spoils else label)
        self.give(out, result)
        return result

    def like(self, source: Tensor) -> None:
        """Every result has the labels of ``source``."""
        for t in self.results():
            self.give(t, self.labels(source))

    def passes(self, source: Tensor, dims: Iterable[int], text: str) -> list[Label]:
        """The labels of ``source``, with ``dims`` fixed (and their atoms blocked) because of ``text``."""
        labels = self.labels(source)
        for d in dims:
            if source.dim():
                d %= source.dim()
                labels[d] = self.refuse([labels[d]], text)
        return labels


def _tensors_in(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors_in(value)
