"""Pooling and resampling: the last dimensions change length, the channels stay as they are."""

from __future__ import annotations

import re

from niwaki.graph.call import Call
from niwaki.graph.rules import rule

POOLING = [
    f"{kind}_pool{n}d{end}"
    for kind in ("max", "avg", "adaptive_avg", "adaptive_max", "_adaptive_avg", "lp", "fractional_max")
    for n in (1, 2, 3)
    for end in ("", "_with_indices")
]
RESAMPLING = [
    f"{name}{n}d"
    for name in (
        "upsample_nearest",
        "_upsample_nearest_exact",
        "upsample_linear",
        "upsample_bilinear",
        "upsample_trilinear",
    )
    for n in (1, 2, 3)
] + [
    "upsample_linear1d",
    "upsample_bilinear2d",
    "upsample_trilinear3d",
    "upsample_bicubic2d",
    "_upsample_bilinear2d_aa",
]


@rule(*POOLING, *dict.fromkeys(RESAMPLING))
def spatial(call: Call) -> None:
    source = call.tensors()[0]
    found = re.search(r"(\d)d", call.op)
    assert found is not None
    first = source.dim() - int(found[1])
    labels = call.passes(source, range(first, source.dim()), f"{call.op} slides over this axis")
    for t in call.results():
        call.give(t, labels)
