"""Elementwise operations: equal positions go together; and does a masked zero stay zero?"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from niwaki.graph.call import Call
from niwaki.graph.labels import Atoms, Free, Label
from niwaki.graph.rules import rule

ZERO_TO_ZERO = [
    "relu",
    "relu6",
    "gelu",
    "silu",
    "mish",
    "tanh",
    "neg",
    "abs",
    "sin",
    "tan",
    "asin",
    "atan",
    "sinh",
    "asinh",
    "atanh",
    "erf",
    "hardswish",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "dropout",
    "feature_dropout",
    "alpha_dropout",
    "sqrt",
    "sign",
    "square",
    "trunc",
    "round",
    "floor",
    "ceil",
    "softsign",
    "rrelu",
    "threshold_zero",
    "native_dropout",
    "expm1",
    "log1p",
    "hardshrink",
    "softshrink",
    "tanhshrink",
    "nan_to_num",
    "positive",
    "deg2rad",
    "rad2deg",
]
ZERO_TO_ELSE = [
    "sigmoid",
    "exp",
    "cos",
    "softplus",
    "hardsigmoid",
    "log_sigmoid",
    "cosh",
    "erfc",
    "exp2",
    "threshold",
    "logical_not",
    "bitwise_not",
    "isnan",
    "isinf",
    "isfinite",
    "acos",
    "lgamma",
]
UNBOUNDED_AT_ZERO = ["rsqrt", "log", "log2", "log10", "reciprocal", "digamma", "logit"]
SUMS = [
    "add",
    "sub",
    "rsub",
    "subtract",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "hypot",
    "atan2",
    "logical_or",
    "logical_xor",
    "bitwise_or",
    "bitwise_xor",
]
PRODUCTS = ["mul", "multiply", "logical_and", "bitwise_and", "__and__"]
COMPARISONS = [
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "not_equal",
    "equal",
    "greater",
    "less",
    "greater_equal",
    "less_equal",
    "isclose",
    "__or__",
    "pow_tensor",
    "remainder",
    "fmod",
    "lerp",
    "addcmul",
    "addcdiv",
    "copysign",
    "xlogy",
    "heaviside",
    "logaddexp",
    "ldexp",
]


@rule(*ZERO_TO_ZERO)
def vanishing(call: Call) -> None:
    call.pointwise([call.tensors()[0]], "all")


@rule(*ZERO_TO_ELSE)
def lasting(call: Call) -> None:
    call.pointwise([call.tensors()[0]], "none")


@rule(*UNBOUNDED_AT_ZERO)
def unbounded(call: Call) -> None:
    """Infinite or undefined at zero: masking could not be compared with cutting."""
    _not_at_zero(call, call.tensors()[:1])


def _not_at_zero(call: Call, tensors: Sequence[Tensor]) -> None:
    """Elementwise, of a first tensor whose masked values must not be zero."""
    before = call.labels(tensors[0])  # in place, its labels are others afterwards
    labels = call.pointwise(tensors, "none")
    for back, label in enumerate(reversed(before), start=1):
        if isinstance(label, Atoms) and label.clean:
            labels[-back] = call.refuse([label, labels[-back]], f"{call.op} of values that are zero when masked")
    call.give(call.results()[0], labels)


@rule(*SUMS)
def sums(call: Call) -> None:
    scalar = any(
        isinstance(v, (int, float)) and v != 0 for k, v in call.arguments.items() if k in ("other", "self", "input")
    )
    tensors = call.tensors()
    pairs = list(zip(*(call.labels(t) for t in tensors), strict=False)) if len({t.shape for t in tensors}) == 1 else []
    call.pointwise(tensors, "none" if scalar else "all")
    for left, *right in pairs if len(pairs) > 1 else []:
        if isinstance(left, Atoms) and any(isinstance(x, Atoms) and x.ids is not left.ids for x in right):
            call.hint(left, "stream")


@rule(*PRODUCTS)
def products(call: Call) -> None:
    call.pointwise(call.tensors(), "any")


@rule("div", "divide", "true_divide", "floor_divide")
def quotient(call: Call) -> None:
    """Zero where the numerator is; undefined where a masked denominator is."""
    top, bottom = call.arguments["self"], call["other"]
    above = call.labels(top) if isinstance(top, Tensor) else []  # in place, they are others afterwards
    labels = call.pointwise(call.tensors(), "any")
    if not isinstance(bottom, Tensor):
        return
    for k, label in enumerate(call.labels(bottom)):
        if isinstance(label, Atoms) and label.clean and bottom.shape[k] > 1:
            labels[k - bottom.dim() + len(labels)] = call.refuse(
                [label], "division by values that are zero when masked"
            )
    for k, label in enumerate(labels):
        back = len(labels) - k
        upper = above[-back] if back <= len(above) else None
        if isinstance(label, Atoms) and not (isinstance(upper, Atoms) and upper.clean):
            labels[k] = label.soiled()
    call.give(call.results()[0], labels)


@rule(*COMPARISONS)
def comparisons(call: Call) -> None:
    call.pointwise(call.tensors(), "none")


@rule("pow")
def power(call: Call) -> None:
    """What is negative, or may be (a tensor), has no value at zero; to the power nought everything is one."""
    base, exponent = call.arguments["self"], call.get("exponent")
    number = isinstance(exponent, (int, float))
    if isinstance(base, Tensor) and not (number and exponent >= 0):
        return _not_at_zero(call, [t for t in (base, exponent) if isinstance(t, Tensor)])
    call.pointwise(call.tensors(), "all" if number and exponent > 0 else "none")


@rule("clamp", "clip", "clamp_min", "clamp_max", "hardtanh")
def clamp(call: Call) -> None:
    low, high = call.get("min", call.get("min_val")), call.get("max", call.get("max_val"))
    numbers = all(v is None or isinstance(v, (int, float)) for v in (low, high))
    keeps = numbers and (low is None or low <= 0) and (high is None or high >= 0)
    call.pointwise(call.tensors(), "all" if keeps else "none")


@rule("where")
def where(call: Call) -> None:
    """The condition picks; the result vanishes where both branches do."""
    branches = list(call.tensors()[1:])
    labels = call.pointwise(call.tensors(), "none")
    pure = len(branches) == 2 and all(_clean(call, b, len(labels)) for b in branches)
    if pure:
        call.give(call.results()[0], [Atoms(x.ids) if isinstance(x, Atoms) else x for x in labels])


def _clean(call: Call, tensor: Tensor, rank: int) -> bool:
    """Is every value of the tensor at masked positions zero, along each of its dimensions?"""
    labels = call.labels(tensor)
    return tensor.dim() == rank and all(x.clean if isinstance(x, Atoms) else _zero(x) for x in labels)


def _zero(label: Label) -> bool:
    """Fixed dimensions say nothing of the others; a free one is zero only if it says so."""
    return not isinstance(label, Free) or label.zero


@rule("masked_fill")
def masked_fill(call: Call) -> None:
    """Filled with zeros, values that vanish still do. (The mask does not tell: of a masked unit it is false.)"""
    source = call.arguments["self"]
    own = call.labels(source)
    labels = call.pointwise([source, call["mask"]], "none")
    zero = isinstance(call["value"], (int, float)) and call["value"] == 0
    if zero and source.shape == call.results()[0].shape:
        call.give(call.results()[0], _as_clean_as(own, labels))


def _as_clean_as(own: Sequence[Label], labels: Sequence[Label]) -> list[Label]:
    pure = [x.clean if isinstance(x, Atoms) else isinstance(x, Free) and x.zero for x in own]
    return [Atoms(x.ids, y) if isinstance(x, Atoms) else x for x, y in zip(labels, pure, strict=True)]


@rule("broadcast_tensors")
def broadcast(call: Call) -> None:
    """Each in the shape of all together."""
    tensors, before = call["tensors"], [call.labels(t) for t in call["tensors"]]
    for t, own, out in zip(tensors, before, call.results(), strict=True):
        labels = call.pointwise(tensors, "none", out)
        if t.shape == out.shape:
            call.give(out, _as_clean_as(own, labels))


@rule("prelu")
def prelu(call: Call) -> None:
    """One slope per channel (dimension 1), or one for all."""
    source, weight = call.arguments["self"], call["weight"]
    labels = call.labels(source)
    if weight.numel() > 1:
        labels[1] = call.meet([labels[1], call.labels(weight)[0]], "any")
        labels[1] = call.labels(source)[1]
    call.give(call.results()[0], labels)


@rule("glu")
def glu(call: Call) -> None:
    """``a * sigmoid(b)`` of the two halves of a dimension."""
    source = call.arguments["self"]
    dim = call["dim"] % source.dim()
    labels = call.labels(source)
    label = labels[dim]
    if isinstance(label, Atoms):
        left, right = label.take(slice(0, label.ids.size // 2)), label.take(slice(label.ids.size // 2, None))
        labels[dim] = call.meet([left, right], "any")
    call.give(call.results()[0], labels)
