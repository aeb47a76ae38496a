"""Weights that are computed from other tensors at every forward pass: weight norm, spectral norm, orthogonal maps."""

from __future__ import annotations

from niwaki.graph.call import Call
from niwaki.graph.labels import Atoms
from niwaki.graph.rules import rule
from niwaki.graph.rules.contract import product, refuse_all


@rule("_weight_norm")
def weight_norm(call: Call) -> None:
    """``w = g v / ‖v‖`` with ``v`` (out, in, …), the norm over all dimensions but ``dim`` (-1: over all), and ``g`` of
    ones except there. Zeros add nothing to a norm. A unit without length is zero in any direction, so a mask leaves the
    direction something to divide by (``niwaki.surgery.masks``)."""
    v, dim = call["v"], call.get("dim", 0)
    own = call.labels(call["g"])
    labels = call.labels(v)
    for d, label in enumerate(labels):
        if d == dim:
            labels[d] = call.meet([label, own[d]])
        elif isinstance(label, Atoms) and not label.clean:
            labels[d] = call.refuse([label], "a norm over values that do not vanish when their unit is masked")
    call.give(call.out, labels)


@rule("vdot", "inner")
def inner(call: Call) -> None:
    left, right = call.tensors()[:2]
    if left.dim() != 1 or right.dim() != 1:
        return refuse_all(call, f"{call.op} of more than two vectors")
    call.give(call.out, product(call, left, right))


@rule("tril", "triu")
def triangle(call: Call) -> None:
    """Which entries stay depends on their positions. Of a tensor without units, nothing more is to be said."""
    refuse_all(call, f"{call.op} keeps entries by their position")


@rule(
    *("matrix_exp", "linalg_matrix_exp", "linalg_solve", "linalg_solve_ex", "linalg_inv", "linalg_inv_ex", "inverse"),
    *("linalg_householder_product", "linalg_qr", "linalg_svd", "linalg_cholesky", "linalg_cholesky_ex", "linalg_eigh"),
    *("linalg_det", "linalg_slogdet", "linalg_pinv", "linalg_lstsq", "geqrf", "ormqr", "qr", "svd"),
)
def mixing(call: Call) -> None:
    refuse_all(call, f"{call.op} mixes all rows and columns of a matrix")
