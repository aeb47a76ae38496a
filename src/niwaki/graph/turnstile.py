"""Count the calls that average, normalise or rank over an axis, so that the same call is found again in another run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode

COUNTED = frozenset(
    {
        *("mean", "nanmean", "var", "std", "var_mean", "std_mean"),
        *(
            "batch_norm",
            "instance_norm",
            "layer_norm",
            "rms_norm",
            "group_norm",
            "native_layer_norm",
            "native_group_norm",
        ),
        *("softmax", "log_softmax", "softmin", "topk", "argmax"),
    }
)
"""Names of the functions and tensor methods that are counted."""


class Turnstile(TorchFunctionMode):
    """Numbers the counted calls from 0 in the order of the forward pass; ``current`` is the one that is running.

    A call made from inside another function of torch is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0
        self.current: tuple[str, int] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name not in COUNTED:
            return func(*args, **(kwargs or {}))
        self.current, self.passed = (name, self.passed), self.passed + 1
        try:
            return self.call(func, args, kwargs or {})
        finally:
            self.current = None

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a counted function. Override to change what it does."""
        return func(*args, **kwargs)


__all__ = ["COUNTED", "Turnstile"]
