"""Which modules call which, in what order, and what they hand to each other: one forward pass, watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from niwaki.calibration.batches import Batch
from niwaki.errors import BadInput
from niwaki.graph.observe import evaluating, slow_attention, tensors_of
from niwaki.modes import cacheless
from niwaki.surgery.modules import readable

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(eq=False)
class Call:
    """One call of a module. Tensors go by tokens: the same number for the same object.

    ``takes``: of its arguments; ``gives``: of the first tensor that it returned, -1 for none; ``rank``: its dimensions.
    ``readers``: how many operations read that tensor and made another. ``parent``: the place of the call around it in
    the list, -1 for none.
    """

    path: str
    module: nn.Module
    parent: int
    takes: tuple[int, ...]
    gives: int = -1
    rank: int = 0
    readers: int = 0


class Recorder(TorchFunctionMode):
    """Writes the list of calls, by hooks, and counts what reads each tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.reads: Counter[int] = Counter()
        self._open: list[int] = []
        self._tokens: Any = WeakIdKeyDictionary()
        self._count = 0

    def watch(self, path: str, module: nn.Module, stack: ExitStack) -> None:
        """Note the calls of one module until the stack unwinds."""

        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            parent = self._open[-1] if self._open else -1
            self._open.append(len(self.calls))
            takes = tuple(self._token(t) for t in tensors_of((args, kwargs)))
            self.calls.append(Call(path, module, parent, takes))

        def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            here = self.calls[self._open.pop()]
            given = next(tensors_of(output), None)
            if given is not None:
                here.gives, here.rank = self._token(given), given.dim()

        stack.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
        stack.callback(module.register_forward_hook(leave, with_kwargs=True).remove)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if next(tensors_of(output), None) is not None:  # else a shape, a dtype, …
            self.reads.update({self._token(t) for t in tensors_of((args, kwargs or {}))})
        return output

    def read(self, model: nn.Module) -> frozenset[str]:
        """The names of the parameters and buffers that an operation read."""
        named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        return frozenset(name for name, t in named if t in self._tokens and self.reads[self._tokens[t]])

    def _token(self, tensor: Tensor) -> int:
        if tensor not in self._tokens:
            self._tokens[tensor] = self._count
            self._count += 1
        token: int = self._tokens[tensor]
        return token


def record_calls(model: nn.Module, batch: Batch) -> tuple[list[Call], Any, frozenset[str]]:
    """All calls of modules in one forward pass in eval mode, in the order in which they begin; what came out; and the
    names of the parameters and buffers that were read, by a call or beside all."""
    recorder = Recorder()
    with ExitStack() as stack:
        stack.enter_context(calm(model))
        for path, module in model.named_modules():
            recorder.watch(path, module, stack)
        with recorder:
            output = model(*batch.args, **batch.kwargs)
    for call in recorder.calls:
        call.readers = recorder.reads[call.gives]
    return recorder.calls, output, recorder.read(model)


def require_gradients() -> None:
    """Raise :class:`BadInput` where there are none to be had."""
    if torch.is_inference_mode_enabled():
        raise BadInput("under torch.inference_mode() there are no gradients, by which units are chosen: leave it out")


@contextmanager
def calm(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients, every module called by itself, and no cache of keys and values."""
    with evaluating(model), torch.no_grad(), slow_attention(), readable(model), cacheless(model):
        yield


__all__ = ["BATCH_NORMS", "Call", "calm", "record_calls", "require_gradients"]
