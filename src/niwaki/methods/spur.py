"""SPUR: a pattern of rows and columns, by a penalty inside iterative magnitude pruning (Park and Lee 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from niwaki.errors import BadInput, nearest
from niwaki.methods.imp import Spacing, imp, ratio
from niwaki.methods.method import Method
from niwaki.methods.regularize import Regularize
from niwaki.methods.several import together
from niwaki.penalties import Lasso, Penalty, Ridge, RowColumn, Unevenness
from niwaki.schedules import not_below_zero
from niwaki.scores import Score
from niwaki.targets import Ratio

Reading = Literal["group_lasso", "scaled_group_lasso", "unevenness", "relative_unevenness", "l1", "l2"]
READINGS: dict[str, Penalty] = {
    "group_lasso": RowColumn(),
    "scaled_group_lasso": RowColumn(scaled=True),
    "unevenness": Unevenness(),
    "relative_unevenness": Unevenness(relative=True),
    "l1": Lasso(),
    "l2": Ridge(),
}


def spur(
    target: Ratio | float,
    *,
    alpha: float = 1e-4,
    reading: Reading = "group_lasso",
    proximal: bool = False,
    rounds: int | Sequence[float] = 5,
    steps: int = 1_000,
    dense: int | None = None,
    spacing: Spacing = "geometric",
    rewind: int | Literal[False] | None = None,
    score: Score | None = None,
) -> Method:
    """SPUR: iterative magnitude pruning, with a penalty beside it under which few rows and columns keep most of the
    weight (Park and Lee, *Structured Pattern Pruning Using Regularization*, arXiv 2109.08814).

    Reconstructed from the abstract; the formula is not published in any source we could reach. The abstract says: a
    regularisation term in the training objective of iterative magnitude pruning lets the weights that survive form
    a structured pattern, rows and columns, from the start. The default reading is the group lasso over rows and
    columns, of which that is the known effect.

    What: as :func:`imp`, but in the dense phase and in each round the gradient of `alpha` times the penalty is added.
    Then rows and columns that matter little fade as a whole, and magnitude takes them first.

    When to use it: for many zeros (90 % and more), and where the zeros are to be of use: `nk.pack` turns rows and
    columns that are empty into smaller products.

    When not: for few zeros, where :func:`imp` does as well for less.

    Settings:
        target: the share of zeros in the end, and where; as for imp.
        alpha: the factor of the penalty (λ). 0 is imp, bit for bit. Choose it on data that are held out; with the
            default reading try 1e-4, 1e-3, 1e-2 (on SST-2, 1e-3 was better than 1e-2). Of other readings and of the
            proximal form it is of another size.
        reading: `"group_lasso"`: Euclidean norms of rows and of columns; `"scaled_group_lasso"`: times the square
            root of their lengths; `"unevenness"`, `"relative_unevenness"`: minus the standard deviation of their L1
            norms, as it is (unbounded) or over the mean; `"l1"`, `"l2"`: of single weights, as controls. Where the
            zeros are to lie together, try `"relative_unevenness"` first: on SST-2 under AdamW survivors lay closer
            together than those of imp at the same accuracy with `alpha` 0.1, and much closer, for 2 points at 50 to
            70 % of zeros, with 1.
        proximal: after each step of the optimizer shrink rows, then columns, by the learning rate times `alpha`, in
            place of the gradient. It makes rows and columns of exact zeros, and passes by the moments of Adam, which
            make a gradient's size count for little. Its `alpha` is of another size: the norm of a row that no
            gradient holds up falls by learning rate times `alpha` in each step, and norms are around 1 in an encoder.
            Try 1, 3, 10 at rates around 5e-5; with 30 all of an encoder was zero within 1,600 steps. What is too small
            to change a weight is told in the log (`niwaki`).
        rounds: as for imp. The same for steps, dense, spacing, rewind, score.
    """
    if reading not in READINGS:
        raise BadInput(
            f"no reading is called {reading!r}{nearest(reading, READINGS) or '.'} Known: {', '.join(READINGS)}."
        )
    not_below_zero(alpha, "alpha")
    target = ratio(target)
    plain = imp(target, rounds=rounds, steps=steps, dense=dense, spacing=spacing, rewind=rewind, score=score)
    return Method(
        "spur",
        together(plain.body, Regularize(READINGS[reading], alpha, target, proximal)),
        (
            "reconstructed from the abstract; the formula is not published in any source we could reach",
            "the penalty acts on the final gradient, after clipping, once per optimizer step",
        ),
    )


__all__ = ["READINGS", "Reading", "spur"]
