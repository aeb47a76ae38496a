"""Where are we? The user's source line and the module that is running, for every observed operation."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as module_hooks

from niwaki.graph.labels import Site

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# All of this package calls the model and watches it, but for the networks that we ship: they are as good as a user's.
_NETWORKS = tuple(_PACKAGE + room + os.sep for room in ("bench", "demo", "testing", "text", "vision"))
_COMMANDS = _PACKAGE + "cli.py"
_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep


class Compass:
    """Knows the stack of running modules (by global hooks) and reads the user's line from the Python stack."""

    def __init__(self, model: nn.Module) -> None:
        self._names = {id(m): name for name, m in model.named_modules()}
        self._stack: list[str] = []
        self.latest = ""
        self._failed: tuple[BaseException, str] | None = None

    def blame(self, trouble: BaseException) -> str:
        """The innermost module that this exception came out of; else where the last operation ran."""
        if self._failed is not None and self._failed[0] is trouble:
            return self._failed[1]
        return self.latest

    def mark(self) -> None:
        """Remember where we are, for the case that the next operation fails."""
        self.latest = self._stack[-1] if self._stack else ""

    def site(self, op: str) -> Site:
        return Site(op, self._stack[-1] if self._stack else "", _user_line())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow module calls while the context is open."""
        before = module_hooks.register_module_forward_pre_hook(self._enter)
        after = module_hooks.register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self._stack.append(self._names.get(id(module), self._stack[-1] if self._stack else ""))

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not self._stack:
            return
        name = self._stack.pop()
        trouble = sys.exc_info()[1]
        if trouble is not None and (self._failed is None or self._failed[0] is not trouble):
            self._failed = (trouble, name)


def _user_line() -> str:
    """``file.py:12`` of the innermost frame that is neither torch's nor ours; empty if no user's code is running."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path == _COMMANDS:  # what calls the command line is click, and Python's own
            return ""
        if path.startswith(_NETWORKS) or not path.startswith((_PACKAGE, _TORCH, "<")):
            return f"{os.path.basename(path)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
