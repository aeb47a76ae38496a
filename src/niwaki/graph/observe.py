"""Run a model once and write what its operations say about its axes into a ledger."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten_with_path, tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from niwaki.errors import BadInput, FaultyRule, UntraceableModel
from niwaki.graph.caches import forgetting
from niwaki.graph.call import Call
from niwaki.graph.copies import duplicate, fresh
from niwaki.graph.labels import Atoms, Fixed, Free, Label, Reason, Site
from niwaki.graph.ledger import Extent, Ledger
from niwaki.graph.numbers import bind
from niwaki.graph.rules import find
from niwaki.graph.sites import Compass
from niwaki.graph.turnstile import Turnstile
from niwaki.modes import evaluating
from niwaki.units import Axis

RESHAPED = frozenset({"view", "reshape", "_unsafe_view", "expand"})
"""Operations that take the length of every dimension by number."""
SHAPED = RESHAPED | {
    *("unflatten", "repeat", "split", "split_with_sizes", "chunk", "tensor_split", "slice", "narrow"),
}
"""Operations that take some length by number."""
VIEWS = frozenset({"unsqueeze", "squeeze", "permute", "transpose", "contiguous", "clone", "alias", "detach", "select"})
"""Operations that compute nothing, and may be left out where there is nothing to do."""

PASSING = RESHAPED | {
    *("to", "_to_copy", "type_as", "contiguous", "clone", "detach", "alias", "flatten", "unsqueeze", "squeeze"),
    *("permute", "transpose", "t", "slice", "select", "index", "sort", "clamp", "float", "long", "int"),
}
"""Operations whose result has values of their first argument and no others."""
ORDERS = frozenset({"argsort", "sort"})
"""Operations that look at no more than which position is the earlier one: a cut keeps that."""
REFUSING_FAKES = {"_grouped_mm": lambda x, weight, *_, **__: x.new_empty(*x.shape[:-1], weight.shape[-1])}
"""Operations that run in more precisions than their own rule for fake tensors admits: the shape of the result."""

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Observation:
    """What one forward pass showed: the relations, every tensor's shape, and the names that share storage. ``inputs``:
    what the model was called with."""

    ledger: Ledger
    shapes: dict[str, tuple[int, ...]]
    aliases: dict[str, str]
    parameters: frozenset[str]
    real: bool
    inputs: Inputs = ()


def observe(model: nn.Module, inputs: Inputs) -> Observation:
    """Observe one forward pass in eval mode: on fake tensors, or on real ones if the model reads values.

    Raises:
        BadInput: the inputs are not a tensor, a tuple or a dict.
        UntraceableModel: the model cannot be called with these inputs.
    """
    args, kwargs = call_arguments(inputs)
    with evaluating(model), _quiet(), forgetting():
        return replace(_observed(model, args, kwargs), inputs=inputs)


def _observed(model: nn.Module, args: Any, kwargs: Any) -> Observation:
    if _weightless(model):
        return _reporting(_observe_fake, model, args, kwargs)
    try:
        return _observe_fake(model, args, kwargs)
    except FaultyRule:
        raise
    except Exception:
        return _reporting(_observe_real, model, args, kwargs)


def _reporting(watch: Callable[..., Observation], model: nn.Module, args: Any, kwargs: Any) -> Observation:
    """Watch, and say in our words why the model could not be run."""
    try:
        return watch(model, args, kwargs)
    except FaultyRule:
        raise
    except Exception as trouble:
        shapes = tree_map(lambda t: tuple(t.shape) if isinstance(t, Tensor) else t, (args, kwargs))
        told = UntraceableModel(
            f"{type(model).__name__} could not be run on the inputs given (positional {shapes[0]}, keywords "
            f"{shapes[1]}): {type(trouble).__name__}: {trouble}. Check that model(*inputs) works by itself."
        )
        told.module = getattr(trouble, "niwaki_module", "")
        raise told from trouble


def call_arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs as users give them (a tensor, a tuple, a dict of keywords) as ``args, kwargs``, for one call: a cache
    among them is a copy, since the call writes to it."""
    if isinstance(inputs, Tensor):
        return (inputs,), {}
    if isinstance(inputs, Mapping):
        return (), fresh(dict(inputs))
    if isinstance(inputs, (list, tuple)):
        return fresh(tuple(inputs)), {}
    raise BadInput(
        "inputs must be a tensor, a tuple (positional arguments) or a dict (keyword arguments), "
        f"not {type(inputs).__name__}"
    )


def skeleton(model: nn.Module, fake: Any, shapes: Mapping[str, tuple[int, ...]] | None = None) -> nn.Module:
    """A copy of the model whose tensors are fake: shapes without memory. The model itself is left alone.

    ``shapes``: other shapes for some tensors, by name.
    """
    shapes = shapes or {}
    memo: dict[int, Any] = {}
    with fake:
        for name, p in model.named_parameters():
            memo[id(p)] = nn.Parameter(_fake(p, shapes.get(name)), requires_grad=p.requires_grad)
        for name, b in model.named_buffers():
            memo[id(b)] = _fake(b, shapes.get(name))
    return duplicate(model, memo)


def _fake(t: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """A fake tensor like ``t``, or of another shape (inside a fake mode). What is on meta is taken to be on the CPU."""
    device = "cpu" if t.device.type == "meta" else t.device
    if shape is None or shape == tuple(t.shape):
        return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=device)
    return torch.empty(shape, dtype=t.dtype, device=device)


def _observe_real(model: nn.Module, args: Any, kwargs: Any) -> Observation:
    """On real tensors and a copy: a model may keep what it computed (tables of positions, caches)."""
    return _observe(duplicate(model), args, kwargs, real=True)


def _weightless(model: nn.Module) -> bool:
    from torch._subclasses.fake_tensor import FakeTensor

    return any(isinstance(t, FakeTensor) for t in model.parameters())


def _observe_fake(model: nn.Module, args: Any, kwargs: Any) -> Observation:
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    modes = [t.fake_mode for t in model.parameters() if isinstance(t, FakeTensor)]
    fake = modes[0] if modes else FakeTensorMode(allow_non_fake_inputs=True)
    body = model if modes else skeleton(model, fake)
    with fake:
        args, kwargs = tree_map(lambda t: _fake(t) if isinstance(t, Tensor) else t, (args, kwargs))
        return _observe(body, args, kwargs, real=False)


def _observe(model: nn.Module, args: Any, kwargs: Any, *, real: bool) -> Observation:
    observer = Observer(model)
    observer.name_inputs(args, kwargs)
    with ExitStack() as stack:
        stack.enter_context(slow_attention())
        stack.enter_context(torch.inference_mode())
        stack.enter_context(observer.compass.watching())
        stack.enter_context(observer.turnstile)
        stack.enter_context(observer)
        try:
            output = model(*args, **kwargs)
        except Exception as trouble:
            trouble.niwaki_module = observer.compass.blame(trouble)  # type: ignore[attr-defined]
            raise
    observer.block_outputs(output)
    observer.block_unseen()
    observer.ledger.numbers.extend(bind(model, observer.ledger))
    parameters = frozenset(n for n, _ in model.named_parameters(remove_duplicate=False))
    return Observation(observer.ledger, observer.shapes, observer.aliases, parameters, real)


@contextmanager
def _quiet() -> Iterator[None]:
    """Fake tensors log every failure at length; ours are expected, and reported in a sentence."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def slow_attention() -> Iterator[None]:
    """Without the fused encoder kernel, which would hide the axes inside one operation."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class Observer(TorchDispatchMode):
    """Calls the rule of every operation that passes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.compass = Compass(model)
        self.turnstile = Turnstile()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.aliases: dict[str, str] = {}
        self._labels: Any = WeakIdKeyDictionary()
        self._unseen: dict[int, str] = {}
        self._pending: Any = WeakIdKeyDictionary()
        self._domains: Any = WeakIdKeyDictionary()
        self._register(model)

    def _register(self, model: nn.Module) -> None:
        """Every parameter and buffer owns one run of atoms per dimension; shared ones own them once."""
        first: dict[int, str] = {}
        named = [
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        ]
        for name, tensor in named:
            self.shapes[name] = tuple(tensor.shape)
            if id(tensor) in first:
                self.aliases[name] = first[id(tensor)]
                continue
            first[id(tensor)] = self._unseen[id(tensor)] = name
            self._labels[tensor] = [Atoms(self.ledger.axis(Axis(name, d), n)) for d, n in enumerate(tensor.shape)]

    def name_inputs(self, args: Any, kwargs: Any) -> None:
        for path, leaf in tree_flatten_with_path((args, kwargs))[0]:
            if isinstance(leaf, Tensor):
                name = "".join(str(key) for key in path[1:]).strip("[]'") or "0"
                self._fix(leaf, f"the model's input {name!r}")

    def block_unseen(self) -> None:
        """What the forward pass never touched is not known to be safe to remove."""
        for name in self._unseen.values():
            reason = Reason(f"{name!r} was not used in the forward pass", None, "Trace with inputs that reach it.")
            for d in range(len(self.shapes[name])):
                self.ledger.block(self.ledger.axes[Axis(name, d)], reason)

        for ids, left, site in self.ledger.untaken.values():
            owner = self.ledger.owner(int(ids[0]))
            if left and owner is not None and np.array_equal(ids, self.ledger.axes[owner]):
                self.ledger.block(ids[sorted(left)], Reason("positions that this forward pass did not take", site))

    def block_outputs(self, output: Any) -> None:
        """What is returned must keep its shape; caches of keys and values are for the model itself to read again."""
        seen = Site("return", "", "the model's forward")
        for leaf in tensors_of(output, caches=False):
            self._use(leaf)
            counted = self._domains.get(leaf)
            if counted is not None:
                self.ledger.block(counted, Reason("positions that were found are returned as numbers", seen))
            labels = self._labels.get(leaf) or []
            for d, label in enumerate(labels):
                reason = Reason(f"dimension {d} of the model's output", seen, "What is returned must keep its shape.")
                if not isinstance(label, (Free, Fixed)):
                    self.ledger.block(label.ids, reason)

    def _fix(self, tensor: Tensor, what: str) -> None:
        self._labels[tensor] = [Fixed(Reason(f"dimension {d} of {what}")) for d in range(tensor.dim())]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.compass.mark()
        out = self._run(func, args, kwargs or {})
        if any(isinstance(t, Tensor) for t in tree_leaves(out)):
            self._rule(func, args, kwargs or {}, out)
        return out

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        shape = REFUSING_FAKES.get(func._schema.name.removeprefix("aten::"))
        if shape is None or not _is_fake(args[0]):
            return func(*args, **kwargs)
        try:
            return func(*args, **kwargs)
        except RuntimeError:
            return shape(*args, **kwargs)

    def _rule(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        schema = func._schema
        name = schema.name.removeprefix("aten::")
        mutates = schema.is_mutable
        if mutates and name.endswith("_") and not name.endswith("__"):
            name = name[:-1]
        arguments = _by_name(schema, args, kwargs)
        site = self.compass.site(name)
        call = Call(
            name,
            arguments,
            out,
            site,
            self.ledger,
            self._labels_of,
            self._give,
            self.turnstile.current,
            self._domains,
        )
        for t in call.tensors():
            self._use(t)
        self._note_constants(func, call)
        before = _snapshot(call) if mutates else None
        function = find(name)
        if function is None:
            self._unknown(call)
        else:
            function(call)
        self._follow_positions(call)
        for t, action in call.pending:
            self._pending.setdefault(t, []).append(action)
        if before is not None:
            self._guard(call, *before)
        if name in SHAPED:
            self._note_extents(call)
        seen: list[tuple[int, np.ndarray | None]] = []
        for t in call.results():
            labels = self._labels.get(t) or ()
            atoms = [x.ids if isinstance(x, Atoms) else None for x in labels]
            self.ledger.beside([ids for ids in atoms if ids is not None])
            seen += zip(t.shape, atoms, strict=False)
            if labels and not _shares(t, call.tensors()):
                self.ledger.written.append((site, tuple(zip(t.shape, atoms, strict=False))))
        if name not in VIEWS and name not in RESHAPED:
            self.ledger.calls.append((site, tuple(seen)))

    def _follow_positions(self, call: Call) -> None:
        """Positions that were found stay positions, or are used as such, or else are mere numbers."""
        if not self._domains:
            return
        passed = next(iter(call.tensors()), None) if call.op in PASSING else None
        if passed is not None:
            call.give_domain(call.results()[0], self._domains.get(passed))
        if call.op not in ORDERS:
            call.refuse_numbers(passed)

    def _note_constants(self, func: Any, call: Call) -> None:
        """Plain numbers that take part in the arithmetic: a cut must not change them."""
        found = [x for n in _arithmetic(func) if isinstance(x := call.arguments.get(n), (int, float, list))]
        if call.op == "lift_fresh":
            constant = getattr(call.out, "constant", call.out)
            if constant is not None and constant.numel() == 1 and not _is_fake(constant):
                found = [constant.item()]
        if found:
            place = (call.op, call.site.module, call.site.line)
            self.ledger.constants.setdefault(place, set()).add(tuple(str(x) for x in found))

    def _note_extents(self, call: Call) -> None:
        """Lengths that the user's code may have asked for by number."""
        before = {
            x.ids.tobytes() for t in call.tensors()[:1] for x in self._labels.get(t) or () if isinstance(x, Atoms)
        }
        for t in call.results():
            for label in self._labels.get(t) or ():
                if isinstance(label, Atoms):
                    made = label.ids.tobytes() not in before
                    if made or call.op in RESHAPED:
                        self.ledger.extents.append(Extent(label.ids, call.site.module, made))

    def _use(self, tensor: Tensor) -> None:
        """The values of a tensor are read: what was to be blocked in that case is."""
        for action in self._pending.pop(tensor, ()):
            action()

    def _labels_of(self, tensor: Tensor) -> list[Label] | None:
        self._unseen.pop(id(tensor), None)
        found: list[Label] | None = self._labels.get(tensor)
        return found

    def _give(self, tensor: Tensor, labels: list[Label]) -> None:
        self._labels[tensor] = labels

    def _guard(self, call: Call, target: Tensor, before: list[Label]) -> None:
        """A write that changes what a tensor's labels say also changes every other tensor in the same memory, whose
        labels stay behind: give up on all that takes part."""
        after = call.labels(target)
        alike = any(isinstance(x, Free) and n > 1 for x, n in zip(before, target.shape, strict=True))
        if [_shape_of(x) for x in before] == [_shape_of(x) for x in after] and not alike:
            return
        memory = target.untyped_storage()._cdata
        shared = [t for t in list(self._labels) if t is not target and t.untyped_storage()._cdata == memory]
        if not shared and target.untyped_storage().nbytes() <= target.numel() * target.element_size():
            return
        labels = [x for t in (*call.tensors(), *shared) for x in call.labels(t)]
        advice = "Use torch.cat or torch.where instead."
        blocked = call.refuse([*before, *after, *labels], "writing into a part of a tensor", advice)
        for t in (target, *shared):
            self._give(t, [Free() if n == 1 else blocked for n in t.shape])

    def _unknown(self, call: Call) -> None:
        """Fail closed: an operation without a rule blocks all that enters it and fixes all that leaves it."""
        self.ledger.unruled.add(call.op)
        entering = [label for t in call.tensors() for label in call.labels(t)]
        advice = "Register a rule for it with nk.graph.rule(...) if you know what it does to its axes."
        blocked = call.refuse(entering, f"the operation {call.op!r} has no rule", advice)
        for t in call.results():
            call.give(t, [Free() if n == 1 else blocked for n in t.shape])


def _shares(result: Tensor, given: Iterable[Tensor]) -> bool:
    """Is a result nothing but a view of what was given?"""
    memory = result.untyped_storage()._cdata
    return any(t.untyped_storage()._cdata == memory for t in given)


def _by_name(schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by their names in the schema, defaults filled in. ``self`` is also known as ``input``."""
    named: dict[str, Any] = {}
    for k, argument in enumerate(schema.arguments):
        if k < len(args) and not argument.kwarg_only:
            named[argument.name] = args[k]
        elif argument.name in kwargs:
            named[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            named[argument.name] = argument.default_value
    return named


def tensors_of(output: Any, *, caches: bool = True) -> Iterator[Tensor]:
    """All tensors in a model's output, whatever it is wrapped in; ``caches``: those of keys and values too."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from tensors_of([v for k, v in output.items() if caches or not _CACHE.search(str(k))], caches=caches)
    elif isinstance(output, (list, tuple, set)):
        for item in output:
            yield from tensors_of(item, caches=caches)
    elif _is_record(output) and (caches or not _CACHE.search(type(output).__name__)):
        found = {k: v for k, v in vars(output).items() if isinstance(v, (Tensor, list, tuple, dict))}
        yield from tensors_of(found, caches=caches)


def _is_record(value: Any) -> bool:
    return hasattr(value, "__dict__") and not isinstance(value, (type, nn.Module))


_CACHE = re.compile(r"[Cc]ache|past_key_values|^mems$")


def _is_fake(tensor: Tensor) -> bool:
    from torch._subclasses.fake_tensor import FakeTensor

    return isinstance(tensor, FakeTensor)


@cache
def _arithmetic(func: Any) -> tuple[str, ...]:
    """Names of the arguments that are numbers to compute with (sizes and dimensions are not)."""
    if func._schema.name in ("aten::arange", "aten::histc"):  # what they make is labelled for its positions
        return ()
    # A plain number may stand where a tensor is declared (x / 8.0).
    kinds = {"number", "float", "Optional[number]", "Optional[float]", "List[float]", "Tensor"}
    return tuple(a.name for a in func._schema.arguments if str(a.type) in kinds)


def _snapshot(call: Call) -> tuple[Tensor, list[Label]] | None:
    tensors = call.tensors()
    return (tensors[0], call.labels(tensors[0])) if tensors else None


def _shape_of(label: Label) -> tuple[object, ...]:
    if isinstance(label, Free):
        return (Free, label.zero)
    if isinstance(label, Fixed):
        return (Fixed,)
    return (label.ids.tobytes(), label.clean)


__all__ = [
    "Inputs",
    "Observation",
    "Observer",
    "call_arguments",
    "evaluating",
    "observe",
    "skeleton",
    "tensors_of",
]
