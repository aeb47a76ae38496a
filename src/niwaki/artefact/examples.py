"""``examples.safetensors``: a few inputs and what the model answers to them; ``examples.json`` says how to call it.

The first example is the inputs that were given. The others are drawn by a seed, like them: floating-point tensors are
normal numbers of their mean and spread, the entries of whole-number tensors are shuffled (where all are 0 or 1, as in
masks, they stay). What the model cannot answer with finite numbers is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from niwaki.artefact.documents import read_json, write_json
from niwaki.artefact.structure import Tensors, packed, unpacked
from niwaki.disk import Checkpoint
from niwaki.errors import BadInput, BrokenFile
from niwaki.graph.copies import duplicate
from niwaki.graph.observe import Inputs, call_arguments, evaluating
from niwaki.surgery.certify import answers

EXAMPLES, DESCRIPTION = "examples.safetensors", "examples.json"
DRAWN = 2
LIMIT = 32_000_000
ORDER = (
    "outputs are the floating-point tensors of what the model returns in eval mode without gradients, depth first: "
    "lists and tuples by position, mappings and records in the order of their keys; caches of keys and values left out"
)


@dataclass(frozen=True, eq=False)
class Example:
    """One call and its answers. ``origin``: ``"given"``, or the seed that it was drawn by."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Tensor]
    origin: str | int

    @property
    def sizes(self) -> list[torch.Size]:
        """Of the tensors that the call takes, in their order."""
        return [t.shape for t in tree_leaves((self.args, self.kwargs)) if isinstance(t, Tensor)]

    def answered_by(self, model: Callable[..., Any]) -> list[Tensor]:
        """What a model, or an exported one, answers to it."""
        return ask(model, self.args, self.kwargs)


def ask(model: Callable[..., Any], args: Any, kwargs: Any) -> list[Tensor]:
    """The floating-point tensors that a call returns. What is random in it is seeded, alike each time."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        if not isinstance(model, nn.Module):
            return answers(model, args, kwargs)
        with evaluating(model):
            return answers(model, args, kwargs)


def make_examples(
    model: nn.Module, inputs: Inputs, *, more: Sequence[Inputs] = (), seed: int = 0, limit: int = LIMIT
) -> list[Example]:
    """Examples of what ``model`` answers, on the processor.

    Args:
        inputs: tensors, and plain values, in tuples, lists and dicts. more: further inputs of the user's own. seed: of
            those that are drawn. limit: most bytes of all.

    Raises:
        BadInput: the inputs hold something else, the model answers with no finite floating-point tensor, or one
            example alone is larger than the limit.
    """
    model = on_processor(model)
    given = [moved(call_arguments(each)) for each in (inputs, *more)]
    for args, kwargs in given:
        packed([args, kwargs], "", {})  # refuses what no file can hold, before anything is computed
    made = [_answered(model, args, kwargs, "given") for args, kwargs in given]
    for number in range(seed, seed + DRAWN):
        args, kwargs = _drawn(given[0], number)
        try:
            made.append(_answered(model, args, kwargs, number))
        except Exception:  # whatever the model says to inputs that nobody meant
            continue
    return list(_within(made, limit))


def write_examples(examples: Sequence[Example], folder: Path) -> None:
    """Write both files."""
    from safetensors.torch import save_file

    from niwaki.replacing import replacing

    tensors: Tensors = {}
    told = []
    for number, each in enumerate(examples):
        call = packed([list(each.args), each.kwargs], f"{number}.input", tensors)
        names = [f"{number}.output.{k}" for k in range(len(each.outputs))]
        tensors |= dict(zip(names, each.outputs, strict=True))
        told.append({"origin": each.origin, "call": call, "outputs": names})
    with replacing(folder / EXAMPLES) as part:
        save_file({name: t.detach().contiguous().clone() for name, t in tensors.items()}, str(part))
    write_json(folder / DESCRIPTION, "examples", {"order": ORDER, "examples": told})


def read_examples(folder: Path) -> list[Example]:
    """What :func:`write_examples` wrote.

    Raises:
        BrokenFile: a file is missing, damaged or does not fit the other.
    """
    path = folder / DESCRIPTION
    rows, tensors = read_json(path, "examples").get("examples"), dict(Checkpoint(folder / EXAMPLES))
    if not isinstance(rows, list) or not rows:
        raise BrokenFile(f"{path} must list 'examples'")
    try:
        return [_example(row, tensors) for row in rows]
    except (KeyError, TypeError, ValueError, RecursionError) as trouble:
        raise BrokenFile(f"{path} does not fit {EXAMPLES}: {trouble}") from trouble


def _example(row: Any, tensors: Tensors) -> Example:
    args, kwargs = unpacked(row["call"], tensors)
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise ValueError("a call is a list of positional arguments and a dict of those by name")
    return Example(tuple(args), kwargs, [tensors[name] for name in row["outputs"]], row["origin"])


def on_processor(model: nn.Module) -> nn.Module:
    """The model, or a copy where it lies on another device."""
    away = any(t.device.type != "cpu" for t in (*model.parameters(), *model.buffers()))
    return duplicate(model).cpu() if away else model


def moved(call: Any) -> Any:
    """Arguments with their tensors on the processor."""
    return tree_map(lambda leaf: leaf.detach().cpu() if isinstance(leaf, Tensor) else leaf, call)


def _answered(model: nn.Module, args: Any, kwargs: Any, origin: str | int) -> Example:
    outputs = ask(model, args, kwargs)
    if not any(t.numel() for t in outputs):
        raise BadInput(f"{type(model).__name__} answers with no tensor that could be compared")
    if any(bool(torch.isnan(t).any()) for t in outputs):
        raise BadInput(
            f"{type(model).__name__} answers these inputs with what is no number (NaN), so nothing can be compared; "
            "give others"
        )
    return Example(tuple(args), dict(kwargs), outputs, origin)


def _drawn(call: Any, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return tree_map(lambda leaf: _like(leaf, generator) if isinstance(leaf, Tensor) else leaf, call)


def _like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    if not tensor.numel() or tensor.dtype is torch.bool or tensor.is_complex():
        return tensor
    if tensor.is_floating_point():
        wide = tensor.float()
        if set(wide.unique().tolist()) == {0.0, 1.0}:  # a mask
            return tensor
        spread = float(wide.std()) if tensor.numel() > 1 else 0.0
        return (torch.randn(tensor.shape, generator=generator) * (spread or 1.0) + wide.mean()).to(tensor.dtype)
    if int(tensor.min()) >= 0 and int(tensor.max()) <= 1:
        return tensor
    return tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].view(tensor.shape)


def _within(made: Sequence[Example], limit: int) -> Iterator[Example]:
    """As many, from the first, as the limit allows."""
    size = 0
    for number, each in enumerate(made):
        size += sum(t.numel() * t.element_size() for t in _tensors(each))
        if size > limit and not number:
            raise BadInput(
                f"one example of these inputs takes {size:,} bytes, more than the limit of {limit:,}. Give inputs of "
                "fewer rows, or another limit"
            )
        if size > limit:
            return
        yield each


def _tensors(example: Example) -> list[Tensor]:
    leaves = tree_leaves((example.args, example.kwargs))
    return [*(leaf for leaf in leaves if isinstance(leaf, Tensor)), *example.outputs]


__all__ = [
    "DESCRIPTION",
    "EXAMPLES",
    "LIMIT",
    "Example",
    "ask",
    "make_examples",
    "moved",
    "on_processor",
    "read_examples",
    "write_examples",
]
