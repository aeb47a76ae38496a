"""What optimizers keep beside moments in a parameter's shape, and how it follows a cut.

Moments that have the shape of their parameter, and counters, follow by themselves. For anything else a rule says what
it runs along; register one for an optimizer of your own::

    @nk.optimizer_rule(MyOptimizer, keys=("per_row",))
    def my_optimizer(state, shrink):
        return {"per_row": shrink.along(state["per_row"], 0)}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from niwaki.errors import BadInput
from niwaki.surgery.slices import select

Kind = type | str


@dataclass(frozen=True)
class Shrink:
    """How one parameter shrinks. ``shape``: the old one. ``gone``: ascending indices that go, by dimension."""

    shape: tuple[int, ...]
    gone: Mapping[int, tuple[int, ...]]

    def along(self, t: Tensor, *dims: int | None) -> Tensor:
        """A copy of ``t`` without what goes. ``dims``: for each dimension of ``t`` the parameter's dimension that it
        runs along; None: no entry of it goes.

        Raises:
            BadInput: the sizes are others.
        """
        asked = [t.shape[k] if dim is None else self.shape[dim] for k, dim in enumerate(dims)]
        if list(t.shape) != asked:
            raise BadInput(
                f"a piece of state of shape {tuple(t.shape)} does not run along the dimensions {dims} of a parameter "
                f"of shape {self.shape}"
            )
        return select(t, {k: self.gone[dim] for k, dim in enumerate(dims) if dim is not None and dim in self.gone})


Rule = Callable[[Mapping[str, Any], Shrink], Mapping[str, Any]]


@dataclass(frozen=True)
class Known:
    """The rule of an optimizer, and the ``keys`` of a parameter's state that it takes care of."""

    rule: Rule
    keys: frozenset[str]


RULES: dict[Kind, Known] = {}


def optimizer_rule(*classes: Kind, keys: Iterable[str]) -> Callable[[Rule], Rule]:
    """Register what becomes of the state of optimizers (and of their subclasses, unless those have their own rule).

    The rule is called with the state of one parameter and how it shrinks (:class:`Shrink`), and returns new values for
    those of its ``keys`` that are in the state. It must not change the old ones.

    Args:
        classes: or their full names (``"package.module.Class"``), which imports nothing.
        keys: of the state. All others must have the shape of the parameter, or be counters.
    """
    wrong = [c for c in classes if not isinstance(c, (type, str)) or (isinstance(c, str) and "." not in c)]
    if wrong or not classes:
        found = repr(wrong[0]) if wrong else "nothing"
        raise BadInput(f"a rule is for optimizer classes or full names like 'package.module.Class', not {found}")
    if isinstance(keys, str):
        raise BadInput(f"keys are a tuple of names, such as ({keys!r},), and not one text")
    names = frozenset(keys)

    def register(function: Rule) -> Rule:
        for cls in classes:
            RULES[cls] = Known(function, names)
        return function

    return register


def known(optimizer: torch.optim.Optimizer) -> Known | None:
    """The rule for this optimizer, if there is one."""
    bases = type(optimizer).__mro__
    kinds = (kind for base in bases for kind in (base, f"{base.__module__}.{base.__qualname__}"))
    return next((RULES[kind] for kind in kinds if kind in RULES), None)


@optimizer_rule("torch.optim.Adafactor", "torch.optim._adafactor.Adafactor", keys=("row_var", "col_var"))
def torch_adafactor(state: Mapping[str, Any], shrink: Shrink) -> Mapping[str, Any]:
    """Factors ``(…, rows, 1)`` and ``(…, 1, columns)`` of the last two dimensions."""
    if "row_var" not in state:
        return {}
    rows, columns = factors(state["row_var"], state["col_var"], shrink)
    return {"row_var": rows, "col_var": columns}


@optimizer_rule("transformers.optimization.Adafactor", keys=("exp_avg_sq_row", "exp_avg_sq_col"))
def transformers_adafactor(state: Mapping[str, Any], shrink: Shrink) -> Mapping[str, Any]:
    """The same, without the dimensions of size 1."""
    if "exp_avg_sq_row" not in state:
        return {}
    rows, columns = factors(state["exp_avg_sq_row"].unsqueeze(-1), state["exp_avg_sq_col"].unsqueeze(-2), shrink)
    return {"exp_avg_sq_row": rows.squeeze(-1), "exp_avg_sq_col": columns.squeeze(-2)}


def factors(rows: Tensor, columns: Tensor, shrink: Shrink) -> tuple[Tensor, Tensor]:
    """The factors of a second moment (Shazeer and Stern, 2018) that stand for what is left of it.

    ``rows`` holds means over columns, ``columns`` means over rows, and entry (i, j) is taken for ``rows[i] × columns[j]
    / mean(rows)``. A mean over fewer rows is another one: with the kept entries alone, every estimate would change by
    a factor. So each factor becomes the mean over what is left, by the same estimate; which then leaves the estimate of
    every kept entry as it was.
    """
    *outer, row, column = range(len(shrink.shape))
    kept_rows, kept_columns = shrink.along(rows, *outer, row, None), shrink.along(columns, *outer, None, column)
    of_rows = _share(kept_rows, shrink.along(rows, *outer, None, None), -2) if row in shrink.gone else None
    of_columns = _share(kept_columns, shrink.along(columns, *outer, None, None), -1) if column in shrink.gone else None
    return (
        kept_rows if of_columns is None else kept_rows * of_columns,
        kept_columns if of_rows is None else kept_columns * of_rows,
    )


def _share(kept: Tensor, whole: Tensor, dim: int) -> Tensor:
    """The mean over what is left, in parts of the mean over all. (Where there is nothing yet, 1.)"""
    share = kept.mean(dim, keepdim=True) / whole.mean(dim, keepdim=True)
    return torch.where(share.isfinite(), share, torch.ones_like(share))


__all__ = ["Known", "Shrink", "factors", "known", "optimizer_rule"]
