"""The table of op rules: one function per kind of operation, found by the operator's name.

A rule is called with a :class:`niwaki.graph.Call` after the operation ran. It reads the labels of the arguments, writes
relations, and labels the results. Register your own::

    @nk.graph.rule("mylib::my_op")
    def my_op(call):
        call.like(call["input"])
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module

from niwaki.errors import FaultyRule
from niwaki.graph.call import Call

Rule = Callable[[Call], None]
RULES: dict[str, Rule] = {}
_ROOMS = (
    *("pointwise", "views", "pieces", "indexing", "create", "contract", "convolution", "norms", "reduce", "space"),
    *("windows", "recurrent", "parametrized"),
)


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators: ``"relu"`` for ``aten::relu`` (and ``relu_``), ``"ns::op"`` elsewhere."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def find(name: str) -> Rule | None:
    """The rule for an operator name, with the built-in ones loaded."""
    _load()
    return RULES.get(name)


def apply(function: Rule, call: Call) -> None:
    """Write what a rule says of a call.

    Raises:
        FaultyRule: the rule fails, or what it says cannot be.
    """
    try:
        function(call)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError) as trouble:
        raise FaultyRule(
            f"rule for {call.op!r}: it failed with {type(trouble).__name__}: {trouble} ({call.site}). The rule is at "
            f"fault, not the model; register another with nk.graph.rule({call.op!r})"
        ) from trouble


@cache
def _load() -> None:
    """The built-in rules, whichever of their modules was imported before; a rule that is there already stays."""
    before = dict(RULES)
    for room in _ROOMS:
        import_module(f"niwaki.graph.rules.{room}")
    RULES.update(before)
