"""Run a model once and write what its operations say about its axes into a ledger."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten_with_path, tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from niwaki.errors import BadInput, FaultyRule, UntraceableModel
from niwaki.graph.alone import CHECK, advice
from niwaki.graph.caches import forgetting, unfilled
from niwaki.graph.call import Call
from niwaki.graph.chance import same_chance
from niwaki.graph.copies import apart, duplicate, fresh
from niwaki.graph.labels import Atoms, Fixed, Free, Label, Reason, Site
from niwaki.graph.ledger import Extent, Ledger
from niwaki.graph.numbers import bind
from niwaki.graph.operators import arithmetic, by_name, composite, moves, mutates, rule_name
from niwaki.graph.rules import apply, find
from niwaki.graph.sites import Compass
from niwaki.graph.training import taken_away, tell, training_mode
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
FEW = 64
"""So many numbers of a constant tensor are compared between two passes."""

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Observation:
    """What one forward pass showed: the relations, every tensor's shape, and the names that share storage. ``inputs``:
    what the model was called with. ``unseen``: the parameters that it did not reach; ``late``: the tensors that a
    pass in train mode alone reached, if one was watched beside the one in eval mode."""

    ledger: Ledger
    shapes: dict[str, tuple[int, ...]]
    aliases: dict[str, str]
    parameters: frozenset[str]
    real: bool
    inputs: Inputs = ()
    unseen: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()


def observe(model: nn.Module, inputs: Inputs, *, training: bool | None = False, advise: bool = False) -> Observation:
    """Observe one forward pass in eval mode: on fake tensors, or on real ones if the model reads values.

    ``training``: the relations of a pass in train mode too; None takes them where that pass reaches more parameters
    and takes no units away. ``advise``: a model that cannot be watched is run by itself too, for the error to say what
    to do about it.

    Raises:
        BadInput: the inputs are not a tensor, a tuple or a dict.
        FaultyRule: a rule fails.
        UntraceableModel: the model cannot be called with these inputs.
    """
    with evaluating(model), _quiet(), forgetting(), unfilled(model):
        found = _observed(model, *call_arguments(inputs), training=bool(training), advise=advise)
        if training is None and found.unseen:
            found = _trained(model, inputs, found)
        return replace(found, inputs=inputs)


def _observed(model: nn.Module, args: Any, kwargs: Any, *, training: bool, advise: bool) -> Observation:
    watch = partial(_observe_fake, training=training)
    if _weightless(model):
        return _reporting(watch, model, args, kwargs, advise)
    try:
        return watch(model, args, kwargs)
    except FaultyRule:
        raise
    except Exception:
        return _reporting(_observe_real, model, args, kwargs, advise)


def _trained(model: nn.Module, inputs: Inputs, found: Observation) -> Observation:
    """Heads that run in training alone take features too. What a pass in train mode reaches follows a cut; where there
    can be none, or it would take away what eval mode offers, the log says what cannot follow."""
    late, trouble = found.unseen, "could not be watched (the model reads values)"
    if not found.real:
        try:
            more = _observe_fake(model, *call_arguments(inputs), training=True)
        except Exception as failure:  # whatever users' code does in training, it need not run without values
            trouble = f"could not be watched ({type(failure).__name__}: {failure})"
        else:
            if not more.unseen < found.unseen:
                return found
            cause = taken_away(found.ledger, more.ledger, more.late)
            if cause is None:
                return more
            late, trouble = found.unseen - more.unseen, f"could not be followed ({cause})"
    tell(model, sorted(n for n in late if not found.real or len(found.shapes[n]) > 1), trouble)
    return found


def _reporting(
    watch: Callable[..., Observation], model: nn.Module, args: Any, kwargs: Any, advise: bool
) -> Observation:
    """Watch, and say in our words why the model could not be run."""
    try:
        return watch(model, args, kwargs)
    except FaultyRule:
        raise
    except Exception as trouble:
        shapes = tree_map(lambda t: tuple(t.shape) if isinstance(t, Tensor) else t, (args, kwargs))
        told = UntraceableModel(
            f"{type(model).__name__} could not be run on the inputs given (positional {shapes[0]}, keywords "
            f"{shapes[1]}): {type(trouble).__name__}: {trouble}. {advice(model, args, kwargs) if advise else CHECK}"
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
    """On a copy of the model, which may keep what it computed (tables of positions, caches), and of the inputs, which
    it may write to."""
    return _observe(duplicate(model), *apart((args, kwargs)), real=True)


def _weightless(model: nn.Module) -> bool:
    from torch._subclasses.fake_tensor import FakeTensor

    return any(isinstance(t, FakeTensor) for t in model.parameters())


def _observe_fake(model: nn.Module, args: Any, kwargs: Any, *, training: bool = False) -> Observation:
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    modes = [t.fake_mode for t in model.parameters() if isinstance(t, FakeTensor)]
    fake = modes[0] if modes else FakeTensorMode(allow_non_fake_inputs=True)
    body = model if modes else skeleton(model, fake)
    again = fresh((args, kwargs)) if training else None
    with fake:
        args, kwargs, again = tree_map(lambda t: _fake(t) if isinstance(t, Tensor) else t, (args, kwargs, again))
        return _observe(body, args, kwargs, real=False, again=again)


def _observe(
    model: nn.Module, args: Any, kwargs: Any, *, real: bool, again: tuple[Any, Any] | None = None
) -> Observation:
    """``again``: the arguments of a second pass, in train mode, of which only the relations are kept."""
    observer = Observer(model)
    _watch(observer, model, args, kwargs)
    late = observer.unseen()
    if again is not None:
        with training_mode(model), same_chance(seed=0), observer.ledger.only_relations(), observer.draws_told():
            _watch(observer, model, *again)
    parameters = frozenset(n for n, _ in model.named_parameters(remove_duplicate=False))
    late -= observer.unseen()
    unseen = observer.unseen() & parameters
    observer.block_unseen()
    observer.ledger.numbers.extend(bind(model, observer.ledger))
    ledger, shapes, aliases = observer.ledger, observer.shapes, observer.aliases
    return Observation(ledger, shapes, aliases, parameters, real, unseen=unseen, late=late)


def _watch(observer: Observer, model: nn.Module, args: Any, kwargs: Any) -> None:
    observer.name_inputs(args, kwargs)
    with ExitStack() as stack:
        stack.enter_context(slow_attention())
        stack.enter_context(uncompiled_flex())
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


@contextmanager
def uncompiled_flex() -> Iterator[None]:
    """Flex attention as one operation: by itself it calls the compiler, which does not run inside a watch."""
    module: Any = sys.modules.get("torch.nn.attention.flex_attention")
    before = getattr(module, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", None)
    if before is not None:
        module._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True
    try:
        yield
    finally:
        if before is not None:
            module._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = before


class Observer(TorchDispatchMode):
    """Calls the rule of every operation that passes."""

    supports_higher_order_operators = True

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
        self._tells_draws = False
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

    @contextmanager
    def draws_told(self) -> Iterator[None]:
        """Inside, single random numbers have values on fake tensors too, for code that asks whether to drop a layer."""
        self._tells_draws = True
        try:
            yield
        finally:
            self._tells_draws = False

    def unseen(self) -> frozenset[str]:
        """The parameters and buffers that no pass has touched so far."""
        return frozenset(self._unseen.values())

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
        kwargs = kwargs or {}
        out = self._in_parts(func, args, kwargs)
        if out is not NotImplemented:
            return out
        lengths = {id(t): tuple(t.shape) for t in args if isinstance(t, Tensor)} if moves(func) else None
        out = self._run(func, args, kwargs)
        if any(isinstance(t, Tensor) for t in tree_leaves(out)):
            self._rule(func, args, kwargs, out, lengths)
        return out

    def _in_parts(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation without a rule that is nothing but others (``hstack`` is ``cat``) as those, one by one, each
        with its rule. NotImplemented for every other."""
        if find(rule_name(func)) is not None or not composite(func):
            return NotImplemented
        with self:
            return func.decompose(*args, **kwargs)

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = rule_name(func)
        if name == "rand" and self._tells_draws:
            return _told(func(*args, **kwargs))
        if name == "scaled_dot_product_attention" and kwargs.get("enable_gqa") and not args[1].shape[-3]:
            # A trial cut may come here. Older releases of torch divide by that number, which ends the process.
            raise RuntimeError("no key heads are left that query heads could share")
        shape = REFUSING_FAKES.get(name)
        if shape is None or not _is_fake(args[0]):
            return func(*args, **kwargs)
        try:
            return func(*args, **kwargs)
        except RuntimeError:
            return shape(*args, **kwargs)

    def _rule(
        self, func: Any, args: Any, kwargs: Any, out: Any, lengths: dict[int, tuple[int, ...]] | None = None
    ) -> None:
        name = rule_name(func)
        arguments = by_name(func, args, kwargs)
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
            lengths,
        )
        for t in call.tensors():
            self._use(t)
        self._note_constants(func, call)
        before = _snapshot(call) if lengths is None and mutates(func) else None
        function = find(name)
        if function is None:
            self._unknown(call)
        else:
            apply(function, call)
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
        found: list[Any] = [x for n in arithmetic(func) if isinstance(x := call.arguments.get(n), (int, float, list))]
        if call.op == "lift_fresh":
            found = _small(call["self"]) or found
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


def _told(draw: Tensor) -> Tensor:
    """A single random number on fake tensors, as one whose value can be asked for: nearly 1, so that what is dropped
    with some probability is kept. Others as they are."""
    if draw.numel() != 1 or not _is_fake(draw):
        return draw
    return torch.tensor(ALMOST_ONE, dtype=draw.dtype, device=draw.device).reshape(draw.shape)


ALMOST_ONE = 0.999


def _is_fake(tensor: Tensor) -> bool:
    from torch._subclasses.fake_tensor import FakeTensor

    return isinstance(tensor, FakeTensor)


def _small(constant: Tensor) -> list[Any]:
    """The values of a real tensor of few numbers, such as one that was written down in forward."""
    few = 0 < constant.numel() <= FEW and not (_is_fake(constant) or constant.is_meta or constant.is_complex())
    return list(constant.flatten().tolist()) if few else []


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
