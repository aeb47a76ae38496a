"""How good predictions are: the measures that benchmarks of language tasks report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from niwaki.errors import BadInput, unknown_key

Values = Sequence[int] | Sequence[float] | np.ndarray


def accuracy(predicted: Values, labels: Values) -> float:
    """Share of right predictions, 0 to 1."""
    told, true = _arrays(predicted, labels)
    return float((told == true).mean())


def f1(predicted: Values, labels: Values) -> float:
    """Harmonic mean of precision and recall of class 1 among two classes: ``2 TP / (2 TP + FP + FN)``, 0 to 1; 0 where
    class 1 is neither there nor predicted.

    Raises:
        BadInput: there are others than classes 0 and 1.
    """
    told, true = _arrays(predicted, labels)
    others = np.setdiff1d(np.union1d(told, true), (0, 1))
    if len(others):
        raise BadInput(f"F1 is of two classes, 0 and 1, and there is {others[0]}; take {' or '.join(_known(3))}.")
    hits = int(((told == 1) & (true == 1)).sum())
    misses = int(((told == 1) != (true == 1)).sum())
    return 2 * hits / (2 * hits + misses) if hits or misses else 0.0


def matthews(predicted: Values, labels: Values) -> float:
    """Matthews' correlation of two or more classes, -1 to 1; 0 where all are of one class or predicted to be.

    It is the correlation of the two as one-hot vectors (Gorodkin, *Comparing two K-category assignments by a
    K-category correlation coefficient*, 2004, equation 8); for two classes Matthews' own.
    """
    told, true = _arrays(predicted, labels)
    classes = np.union1d(told, true)
    t = (told[:, None] == classes).astype(np.float64)
    y = (true[:, None] == classes).astype(np.float64)
    return _correlation(t - t.mean(0), y - y.mean(0))


def pearson(predicted: Values, labels: Values) -> float:
    """Pearson's correlation of scores, -1 to 1; 0 where either does not vary."""
    told, true = (_scaled(values.astype(np.float64)) for values in _arrays(predicted, labels))
    # The mean of equal numbers is rounded, so that they may seem to vary around it.
    if told.max() == told.min() or true.max() == true.min():
        return 0.0
    return _correlation(told - told.mean(), true - true.mean())


METRICS: dict[str, Callable[[Values, Values], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
}


TITLES = {"accuracy": "accuracy", "f1": "F1", "matthews": "Matthews", "pearson": "Pearson"}
"""What tables and figures call them."""
OF_SCORES = frozenset({"pearson"})
"""Measures of scores; the others are of classes."""
OF_TWO = frozenset({"f1"})
"""Measures of two classes; the others are of any number."""


def require(name: str, classes: int) -> None:
    """See that a measure can tell of so many classes; of scores, where there are none.

    Raises:
        BadInput: no such measure, or it cannot; those that can are named.
    """
    if name not in METRICS:
        raise unknown_key("The table of measures", name, METRICS)
    if name not in _known(classes):
        kind = f"{classes} classes" if classes else "scores"
        raise BadInput(f"{kind} cannot be measured by {name!r}; known: {', '.join(_known(classes))}.")


def scores(names: Sequence[str], outputs: Tensor, labels: Sequence[int] | Sequence[float]) -> dict[str, float]:
    """Measures by name of what a model gives.

    Args:
        names: of `METRICS`.
        outputs: logits of classes, rows x classes, of which the largest is predicted (the first of equal ones); or
            scores, rows x 1.
        labels: class numbers, or scores.

    Raises:
        BadInput: no such measure, or one of another number of classes, or of scores where there are classes; other
            numbers of rows; outputs of another shape, or that are no numbers.
    """
    if outputs.dim() != 2 or not outputs.shape[1]:
        raise BadInput(
            f"Outputs are rows x classes, or rows x 1 of scores, not of shape {tuple(outputs.shape)}; of one score a "
            "row, give outputs[:, None]."
        )
    width = outputs.shape[1]
    for name in names:
        require(name, width if width > 1 else 0)
    values = outputs.detach().float().cpu()
    if not bool(values.isfinite().all()):
        raise BadInput("The model gives infinities or NaN; nothing can be said of its predictions. Has it diverged?")
    told = values[:, 0].numpy() if width == 1 else values.argmax(1).numpy()
    return {name: METRICS[name](told, labels) for name in names}


def _known(classes: int) -> list[str]:
    """Measures of so many classes, or of scores."""
    return [n for n in METRICS if (n in OF_SCORES) is not bool(classes) and (classes == 2 or n not in OF_TWO)]


def _scaled(values: np.ndarray) -> np.ndarray:
    """Times a power of two, which rounds nothing, so that the largest is about 1: squares neither overflow nor
    vanish."""
    return np.ldexp(values, -np.frexp(np.abs(values).max())[1])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of what is centred already."""
    below = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / below if below else 0.0


def _arrays(predicted: Values, labels: Values) -> tuple[np.ndarray, np.ndarray]:
    told, true = np.asarray(predicted), np.asarray(labels)
    if told.shape != true.shape or told.ndim != 1 or not len(told):
        raise BadInput(
            f"Predictions and labels are two rows of one length, at least 1, not {told.shape} and {true.shape}."
        )
    return told, true


__all__ = ["METRICS", "OF_SCORES", "OF_TWO", "TITLES", "accuracy", "f1", "matthews", "pearson", "require", "scores"]
