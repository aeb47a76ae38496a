"""What a family is: an architecture that people use, in a tiny size to test on and in its published size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


def nothing() -> None:
    """Stand in for what a family does not have."""


@dataclass(frozen=True)
class Family:
    """One architecture, tiny and alive, with what someone who knows it well would expect to be able to cut.

    Unlike a specimen of the zoo it claims nothing about single axes, only about kinds of units.
    ``kinds`` is a floor and not a census: there may be more to cut than it names. Its words:

    ``channel``: a feature map of a convolution, together with whatever reads it;
    ``neuron``: an inner feature of an MLP, with its gate where there is one;
    ``head``: an attention head; where heads share keys, a query head inside its group;
    ``kv_group``: a key-value head together with the query heads that read it;
    ``head_dim``: a feature inside the heads (a pair of them under rotary positions);
    ``hidden``: a feature of the residual stream, or of the recurrent state that plays its part;
    ``expert``: a whole expert, with its row of the router;
    ``state``: an inner feature of a state space or of a linear recurrence.

    Tags say what the family is (``encoder``, ``decoder``, ``encoder_decoder``, ``vision``, ``cnn``, ``speech``,
    ``text``, …), how it computes (``attention``, ``rotary``, ``grouped_query``, ``moe``, ``state_space``,
    ``recurrent``, …) and what it needs (``needs_transformers``). Some warn: ``norm_statistics`` where a norm averages
    over an axis that could be cut; ``stream_is_output`` where a residual stream is handed out beside the answer, so
    that ``hidden`` is no claim, or only for another stream; ``reads_values`` where the forward looks at numbers;
    ``grouped_mm`` where experts are multiplied all at once by an operation that knows no fake tensors but bfloat16;
    ``parametrized`` where weights are computed from others.
    """

    name: str
    tags: frozenset[str]
    kinds: frozenset[str]
    build: Callable[[], nn.Module]
    """Makes the tiny model: the same one every time, in eval mode, no weight of it exactly 0 or 1."""
    inputs: Callable[[], Any]
    """Makes inputs for the tiny model: a tensor, a tuple of positional arguments or a dict of keywords."""
    real: Callable[[], nn.Module | None] = nothing
    """Makes the published size on the meta device; None where the family has no such thing."""
    real_inputs: Callable[[], Any] = nothing
    """Makes inputs for the published size: one short sentence or one picture."""
    note: str = ""


def words(text: str) -> frozenset[str]:
    """Read tags or kinds from a spaced list."""
    return frozenset(text.split())
