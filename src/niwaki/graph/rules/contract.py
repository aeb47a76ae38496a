"""Sums of products: linear layers, matrix products, attention, embeddings."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence

from torch import Tensor

from niwaki.graph.call import Call
from niwaki.graph.labels import Atoms, Fixed, Free, Label, Reason, distinct, soiled
from niwaki.graph.ledger import Extent
from niwaki.graph.rules import rule
from niwaki.graph.work import Linear, Work

UNCLEAN = "a sum over values that do not vanish when their unit is masked"


@rule("linear")
def linear(call: Call) -> None:
    x, weight, bias = call["input"], call["weight"], call.get("bias")
    source, taken = call.labels(x), call.labels(weight)
    call.contract(source[-1], taken[-1])
    call.play(taken[-1], "takes", "neuron")
    # A row of zeros gets the bias too.
    others = [soiled(x) for x in source[:-1]] if isinstance(bias, Tensor) else source[:-1]
    if weight.dim() == 1:
        return call.give(call.out, others)
    made = taken[0]
    call.play(made, "makes", "neuron")
    if isinstance(bias, Tensor):
        made = call.meet([made, call.labels(bias)[0]])
    leading = list(zip(source[:-1], x.shape[:-1], strict=True))
    fixed = math.prod(n for label, n in leading if not isinstance(label, Atoms))
    rows = tuple(label.ids for label, _ in leading if isinstance(label, Atoms))
    columns = call.length(taken[-1], weight.shape[-1])
    work = Work(Linear(fixed, isinstance(bias, Tensor)), call.length(made, weight.shape[0]), columns, columns, rows)
    call.cost(1, *leading, (made, weight.shape[0]), (taken[-1], weight.shape[-1]), work=work)
    call.give(call.out, [*others, made])


@rule("mm", "bmm", "matmul", "mv", "dot")
def matmul(call: Call) -> None:
    left, right = call.tensors()[:2]
    call.give(call.out, product(call, left, right))


def product(call: Call, left: Tensor, right: Tensor) -> list[Label]:
    """Labels of ``left @ right`` (numpy rules of broadcasting)."""
    a, b = call.labels(left), call.labels(right)
    inner = a[-1], b[-2] if right.dim() > 1 else b[-1]
    call.contract(*inner)
    if not any(isinstance(label, Atoms) for label in inner):
        call.counts(left.shape[-1])
    for label in inner:
        call.play(label, "takes", "neuron")
    rows = [(a[-2], left.shape[-2])] if left.dim() > 1 else []
    columns = [(b[-1], right.shape[-1])] if right.dim() > 1 else []
    for label, _ in (*rows, *columns):
        call.play(label, "makes", "neuron")
    batch = _batch(call, (a[:-2], left.shape[:-2]), (b[:-2], right.shape[:-2]))
    call.summed(inner[0], [label for label, _ in batch])
    if batch and left.dim() > 2 and right.dim() > 2:
        call.hint(batch[-1][0], "head")
        for label in (*inner, *(label for label, _ in columns)):
            call.hint(label, "head_dim")
    work = None
    if left.dim() == right.dim() == 2 and not isinstance(a[0], Atoms):
        taken = call.length(inner[0], left.shape[-1])
        work = Work(Linear(left.shape[0], "add" in call.op), call.length(b[-1], right.shape[-1]), taken, taken)
    call.cost(1, *batch, *rows, *columns, (inner[0], left.shape[-1]), work=work)
    return [label for label, _ in (*batch, *rows, *columns)]


def _batch(call: Call, *sides: tuple[Sequence[Label], Sequence[int]]) -> list[tuple[Label, int]]:
    """Leading dimensions, broadcast from the right."""
    rank = max(len(labels) for labels, _ in sides)
    result: list[tuple[Label, int]] = []
    for back in range(rank, 0, -1):
        here = [(labels[-back], sizes[-back]) for labels, sizes in sides if len(labels) >= back]
        length = max(n for _, n in here)
        result.append((call.meet([x for x, n in here if n == length], "any"), length))
    return result


@rule("addmm", "baddbmm", "addbmm", "addmv")
def addmm(call: Call) -> None:
    bias, left, right = call.tensors()[:3]
    labels = product(call, left, right)
    if call.op == "addbmm":
        labels = _added_up(call, labels, left.shape[0])
    own = call.labels(bias)
    for back in range(1, len(labels) + 1):
        if back <= bias.dim() and bias.shape[-back] == call.out.shape[-back]:
            labels[-back] = call.meet([labels[-back], own[-back]])
        else:
            labels[-back] = soiled(labels[-back])
    call.give(call.out, labels)


def _added_up(call: Call, labels: list[Label], length: int) -> list[Label]:
    """The products of a batch, which are summed over it."""
    batch, *labels = labels
    if not isinstance(batch, Atoms):
        call.counts(length)
    elif not batch.clean:
        call.refuse([batch], UNCLEAN)
    call.play(batch, "takes", "neuron")
    return labels


@rule("_grouped_mm")
def grouped(call: Call) -> None:
    """torch's own; rows of its matrices must start at multiples of 16 bytes."""
    x, weight, offsets = call.arguments["self"], call["mat2"], call.get("offs")
    if x.dim() != 2 or weight.dim() != 3 or not isinstance(offsets, Tensor):
        return refuse_all(call, "a grouped product of other shapes than (S, K) by (E, K, N)")
    _grouped(call, x, weight, offsets)
    for label in call.labels(weight)[1:]:
        call.in_multiples_of(label, 16 // weight.element_size())


@rule("transformers::grouped_mm_fallback")
def grouped_by_transformers(call: Call) -> None:
    """Where torch has none: on processors before torch 2.9, on older GPUs, for tensors that lie at odd places."""
    _grouped(call, call["input"], call["weight"], call["offs"])


def _grouped(call: Call, x: Tensor, weight: Tensor, offsets: Tensor) -> None:
    """Rows of ``x`` (S, K), sorted by expert, each times its expert's matrix of ``weight`` (E, K, N)."""
    (rows, into), (experts, taken, made) = call.labels(x), call.labels(weight)
    met = call.meet([call.labels(offsets)[0], experts], "any")
    call.hint(met, "expert")
    call.contract(into, taken)
    call.play(taken, "takes", "neuron")
    call.play(made, "makes", "neuron")
    call.cost(x.shape[0], (taken, weight.shape[1]), (made, weight.shape[2]))
    call.give(call.out, [rows, made])


@rule("einsum")
def einsum(call: Call) -> None:
    """Letters that agree are tied; letters that vanish are summed over."""
    tensors = call["tensors"]
    read = spelled_out(call["equation"], [t.dim() for t in tensors])
    if read is None:
        return refuse_all(call, "einsum with a repeated letter in one term")
    terms, result = read
    found: dict[str, list[tuple[Label, int]]] = {}
    for term, t in zip(terms, tensors, strict=True):
        for letter, label, n in zip(term, call.labels(t), t.shape, strict=True):
            found.setdefault(letter, []).append((label, n))
            call.play(label, "makes" if letter in result else "takes", "neuron")
    met: dict[str, tuple[Label, int]] = {}
    for letter, sides in found.items():
        length = max(n for _, n in sides)
        wide = [x for x, n in sides if n == length]
        met[letter] = _summed(call, wide) if letter not in result else call.meet(wide, "any"), length
    common = [met[letter][0] for letter in result if len(found[letter]) == len(tensors)]
    for letter in found.keys() - set(result):
        call.summed(met[letter][0], common)
    for letter in result:
        if len(found[letter]) > 1:
            call.hint(met[letter][0], "head")
    for letters in steps(terms, result):
        call.cost(1, *(met[letter] for letter in letters))
    call.give(call.out, [met[letter][0] for letter in result])


def steps(terms: Sequence[str], result: str) -> list[str]:
    """The letters of each sum of products, as torch computes them: from the left, two tensors at a time. What is in one
    of them alone, and nowhere needed, is summed before; where nothing else is, numbers are multiplied, and no products
    summed."""
    found, left = [], terms[0]
    for k, right in enumerate(terms[1:], start=2):
        needed = {*result, *"".join(terms[k:])}
        both = [c for c in dict.fromkeys(left + right) if c in needed or (c in left and c in right)]
        if not needed.issuperset(both):
            found.append("".join(both))
        left = "".join(c for c in both if c in needed)
    return found


def spelled_out(equation: str, ranks: Sequence[int]) -> tuple[list[str], str] | None:
    """Terms and result of an einsum equation, with letters for the ellipsis and for an implicit result; None if a
    letter is repeated within a term (a diagonal)."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    free = [c for c in string.ascii_letters if c not in equation]
    extra = max([0, *(rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True))])
    dots = "".join(free[:extra])
    if not arrow:
        letters = left.replace("...", "").replace(",", "")
        once = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
        result = ("..." if "..." in left else "") + once
    wide = []
    for term, rank in zip(terms, ranks, strict=True):
        held = rank - len(term.replace("...", ""))
        wide.append(term.replace("...", dots[len(dots) - held :] if held else ""))
    if any(len(set(term)) < len(term) for term in wide):
        return None
    return wide, result.replace("...", dots)


def _summed(call: Call, labels: list[Label]) -> Label:
    """The label of a letter that is summed over: masked positions must add nothing."""
    atoms = [x for x in labels if isinstance(x, Atoms)]
    if atoms and not any(x.clean for x in atoms):
        return call.refuse(atoms, UNCLEAN)
    return call.meet(labels)


@rule("scaled_dot_product_attention")
def attention(call: Call) -> None:
    """``softmax(q kᵀ · scale + mask) v``. The default scale is taken from the head dimension, so that stays."""
    q, k, v = call["query"], call["key"], call["value"]
    a, b, c = call.labels(q), call.labels(k), call.labels(v)
    wide = [[*t.shape[:-2]] for t in (q, k, v)]
    if call.get("enable_gqa"):
        b, c = ([*x[:-3], _shared(call, x[-3], q.shape[-3] // t.shape[-3]), *x[-2:]] for x, t in ((b, k), (c, v)))
        wide = [[*sizes[:-1], q.shape[-3]] for sizes in wide]
    sides = [(x[:-2], sizes) for x, sizes in zip((a, b, c), wide, strict=True)]
    mask = call.get("attn_mask")
    if isinstance(mask, Tensor):
        sides.append((call.labels(mask)[:-2], [*mask.shape[:-2]]))
    lead = _batch(call, *sides)
    if len(lead) == 2:
        call.hint(lead[-1][0], "head")
    call.contract(a[-1], b[-1])
    for label in (a[-1], c[-1]):
        call.hint(label, "head_dim")
    if call.get("scale") is None:
        call.refuse([a[-1], b[-1]], "the attention's scale is computed from this dimension", SCALE)
    call.refuse([b[-2], c[-2], a[-2]], "positions that a softmax runs over")
    lead = _as_values(lead, c[:-2])
    call.cost(q.shape[-2] * k.shape[-2], *lead, (a[-1], q.shape[-1]))
    call.cost(q.shape[-2] * k.shape[-2], *lead, (c[-1], v.shape[-1]))
    call.give(call.out, [*(label for label, _ in lead), a[-2], c[-1]])


def _as_values(lead: list[tuple[Label, int]], values: Sequence[Label]) -> list[tuple[Label, int]]:
    """Masked queries and keys are alike, and shares of values all the same: a head vanishes where its values do."""
    own = [*[None] * (len(lead) - len(values)), *values]
    return [
        (Atoms(x.ids, isinstance(v, Atoms) and v.clean) if isinstance(x, Atoms) else x, n)
        for (x, n), v in zip(lead, own, strict=True)
    ]


SCALE = "Pass scale= explicitly (the value of today) to F.scaled_dot_product_attention."


def _shared(call: Call, label: Label, times: int) -> Label:
    """Key-value heads as the query heads see them: each ``times`` in a row."""
    if times == 1 or not isinstance(label, Atoms):
        return label
    return interleaved(call, label, times)


def interleaved(call: Call, label: Atoms, times: int) -> Label:
    """Every position ``times`` in a row: a grid of the positions and of a number of copies that may follow others."""
    copies = call.virtual(times).ids
    if not distinct(label.ids):
        return Atoms(label.ids.repeat(times), label.clean)
    call.ledger.extents.append(Extent(copies, call.site.module))
    call.hint(label, "kv_group")
    return Atoms(call.ledger.join((label.ids, copies), call.site).reshape(-1), label.clean)


@rule("embedding")
def embedding(call: Call) -> None:
    weight, indices = call["weight"], call["indices"]
    rows, columns = call.labels(weight)
    call.refuse([rows], "the vocabulary of an embedding")
    call.play(columns, "makes", "neuron")
    call.hint(columns, "hidden")
    # A masked number is zero, which is a row like any other.
    call.give(call.out, [*(soiled(x) for x in call.labels(indices)), columns])


@rule("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(call: Call) -> None:
    """Rows of ``weight`` (V, D) in bags, one vector of D each: a sum, average or maximum for each feature. With weights
    for each row it is a product with a sparse matrix, and counts as such."""
    rows, columns = call.labels(call["weight"])
    call.refuse([rows], "the vocabulary of an embedding")
    call.play(columns, "makes", "neuron")
    call.hint(columns, "hidden")
    bags, *notes = call.results()
    call.give(bags, [Fixed(Reason("bags of the data", call.site)), columns])
    if call.get("per_sample_weights") is not None:
        call.cost(call["indices"].numel(), (columns, call["weight"].shape[1]))
    for note in notes:
        call.give(note, [Fixed(Reason("bags of the data", call.site)) for _ in note.shape])


def refuse_all(call: Call, text: str, advice: str = "") -> None:
    """Block every axis that enters the operation and fix what leaves it."""
    blocked = call.refuse([x for t in call.tensors() for x in call.labels(t)], text, advice)
    for t in call.results():
        call.give(t, [Free() if n == 1 else blocked for n in t.shape])
