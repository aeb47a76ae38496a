"""Chains of blocks: modules in containers of which each takes what the one before gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from niwaki.calibration.calls import Call
from niwaki.errors import BadInput


class Enough(BaseException):
    """Raised in a hook: what was wanted has been seen. (No model's ``except Exception`` may stop it.)"""


@dataclass(frozen=True, eq=False)
class Link:
    """A block in a chain: its call's place in the recorded list, and the number of its run of blocks."""

    call: int
    path: str
    module: nn.Module
    run: int


@dataclass(frozen=True, eq=False)
class Chain:
    """All blocks that can be passed over, in the order of their calls, in runs of at least two.

    While the block at a position is looked at, those before it need not run again: each gives in their place what the
    last of them in its run gave.
    """

    links: tuple[Link, ...]

    def __len__(self) -> int:
        return len(self.links)

    def position(self, call: int, calls: Sequence[Call]) -> int:
        """How many blocks were over when this call of the recorded list began."""
        started = sum(link.call <= call for link in self.links)
        return started - (self.around(call, calls) == started - 1 >= 0)

    def around(self, call: int, calls: Sequence[Call]) -> int:
        """The number of the block in which a call lies; -1 for none."""
        places = {link.call: k for k, link in enumerate(self.links)}
        while call >= 0 and call not in places:
            call = calls[call].parent
        return places.get(call, -1)

    def needed(self, position: int) -> list[int]:
        """The blocks whose outputs stand for all before ``position``: the last passed one of every run."""
        last = {link.run: k for k, link in enumerate(self.links[:position])}
        return sorted(last.values())

    @contextmanager
    def passing(
        self, position: int, outputs: Mapping[int, Any], seen: Callable[[int, Any], None] | None = None
    ) -> Iterator[None]:
        """Inside, one forward pass runs no block before ``position``: those give ``outputs``, by the number of the
        block. ``seen`` is told what every block gives that runs."""
        place = iter(range(len(self.links)))
        stands = {self.links[k].run: outputs[k] for k in self.needed(position)}
        before = {id(link.module): link.module.__dict__.get("forward") for link in self.links}

        def stand_in(original: Callable[..., Any]) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                here = next(place, None)
                if here is None:
                    raise BadInput("a block was called more often than on the first batch of data")
                if here < position:
                    return stands[self.links[here].run]
                output = original(*args, **kwargs)
                if seen is not None:
                    seen(here, output)
                return output

            return forward

        modules = {id(link.module): link.module for link in self.links}
        try:
            for module in modules.values():
                module.forward = stand_in(module.forward)
            yield
        finally:
            for key, module in modules.items():
                module.__dict__.pop("forward", None)
                if before[key] is not None:
                    module.__dict__["forward"] = before[key]


def find_chain(model: nn.Module, calls: Sequence[Call], *, fine: bool = True) -> Chain:
    """The chain in a recorded forward pass.

    Blocks are members of ``nn.Sequential`` and ``nn.ModuleList``. ``fine``: a block that is no more than a chain of
    such members itself gives way to them.
    """
    members = {
        f"{path}.{name}".lstrip(".")
        for path, module in model.named_modules()
        if isinstance(module, (nn.Sequential, nn.ModuleList))
        for name, _ in module.named_children()
    }
    inside = _inside(calls, members)
    top = list(_refined(-1, calls, inside)) if fine else inside[-1]
    runs: list[list[int]] = []
    for k in top:
        if runs and calls[runs[-1][-1]].gives in calls[k].takes and calls[k].takes:
            runs[-1].append(k)
        else:
            runs.append([k])
    often = Counter(id(call.module) for call in calls)
    in_runs = Counter(id(calls[k].module) for run in runs if len(run) > 1 for k in run)
    kept = [run for run in runs if len(run) > 1 and all(often[m] == in_runs[m] for m in _modules(run, calls))]
    return Chain(tuple(Link(k, calls[k].path, calls[k].module, number) for number, run in enumerate(kept) for k in run))


def _modules(run: Sequence[int], calls: Sequence[Call]) -> list[int]:
    return [id(calls[k].module) for k in run]


def _inside(calls: Sequence[Call], members: set[str]) -> dict[int, list[int]]:
    """For every call of a member, and -1 for the model: the calls of members right inside it."""
    found: dict[int, list[int]] = {-1: []}
    for k, call in enumerate(calls):
        if call.path in members:
            above = call.parent
            while above >= 0 and calls[above].path not in members:
                above = calls[above].parent
            found.setdefault(above, []).append(k)
    return found


def _refined(call: int, calls: Sequence[Call], inside: Mapping[int, list[int]]) -> Iterator[int]:
    """The finest blocks that still make up what is called: its own members, if they lead from its input to its
    output."""
    for k in inside.get(call, []):
        within = list(_refined(k, calls, inside))
        whole = (
            bool(within)
            and set(calls[within[0]].takes) & set(calls[k].takes)
            and calls[within[-1]].gives == calls[k].gives
            and all(calls[a].gives in calls[b].takes for a, b in pairwise(within))
        )
        if whole:
            yield from within
        else:
            yield k


__all__ = ["Chain", "Enough", "Link", "find_chain"]
