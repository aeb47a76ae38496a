"""Each measure by hand, and against plain definitions on random predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from niwaki.errors import BadInput
from niwaki.text.metrics import METRICS, accuracy, f1, matthews, pearson, require, scores

# Of class 1, rows 0, 1 and 4 are hit (TP), 5 is missed (FN), 2 and 7 are false (FP); 3 and 6 are left (TN).
PREDICTED = [1, 1, 1, 0, 1, 0, 0, 1]
LABELS = [1, 1, 0, 0, 1, 1, 0, 0]


def test_by_hand() -> None:
    assert accuracy(PREDICTED, LABELS) == 5 / 8
    assert f1(PREDICTED, LABELS) == pytest.approx(2 * 3 / (2 * 3 + 2 + 1))
    # (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)) = (6 - 2) / sqrt(5 * 4 * 4 * 3)
    assert matthews(PREDICTED, LABELS) == pytest.approx(4 / math.sqrt(240))
    # Deviations (-1, 0, 1) and (-1, -1, 2): 3 / sqrt(2 * 6).
    assert pearson([1.0, 2.0, 3.0], [0.0, 0.0, 3.0]) == pytest.approx(3 / math.sqrt(12))


def test_three_classes_by_hand() -> None:
    # Gorodkin: (n * right - sum of p_k t_k) / sqrt((n^2 - sum p_k^2)(n^2 - sum t_k^2)),
    # n = 5, right = 3, predicted (2, 2, 1), true (1, 2, 2): (15 - (2 + 4 + 2)) / sqrt(16 * 16).
    assert matthews([0, 0, 1, 1, 2], [0, 1, 1, 2, 2]) == pytest.approx(7 / 16)


@pytest.mark.parametrize("seed", range(5))
def test_against_plain_definitions(seed: int) -> None:
    draw = np.random.default_rng(seed)
    told, true = draw.integers(0, 2, 50), draw.integers(0, 2, 50)
    precision, recall = (true[told == 1] == 1).mean(), (told[true == 1] == 1).mean()
    assert f1(told, true) == pytest.approx(stats.hmean([precision, recall]))
    assert matthews(told, true) == pytest.approx(stats.pearsonr(told, true).statistic)
    x, y = draw.normal(size=50), draw.normal(size=50)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)


@pytest.mark.parametrize("name", METRICS)
def test_the_best_is_one_and_what_cannot_be_told_is_zero(name: str) -> None:
    measure = METRICS[name]
    assert measure([0, 1, 1, 0], [0, 1, 1, 0]) == pytest.approx(1)
    if name != "accuracy":
        assert measure([0, 0, 0], [0, 0, 0]) == 0
    assert measure([0, 0, 0], [1, 1, 1]) == 0


@pytest.mark.parametrize("rows", [3, 1000, 1001])
def test_scores_that_do_not_vary_correlate_with_nothing(rows: int) -> None:
    """Though the mean of 1,001 times 0.3 is not 0.3."""
    assert pearson(np.full(rows, 0.3), np.full(rows, 0.7)) == 0
    assert pearson(np.full(rows, 0.3), np.arange(rows)) == 0
    assert pearson(np.arange(rows), np.full(rows, 0.7)) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("power", [-320, -170, 0, 170, 200, 307])
def test_the_size_of_scores_does_not_matter(power: int) -> None:
    told, true = np.array([1.0, 2.0, 3.0, 5.0]), np.array([1.0, 3.0, 2.0, 9.0])
    size = 10.0**power
    expected = stats.pearsonr(told, true).statistic
    near = 1e-3 if power < -308 else 1e-12  # numbers so small have few digits
    assert pearson(told * size, true) == pytest.approx(expected, abs=near)
    assert pearson(told * size, true * size) == pytest.approx(expected, abs=near)
    assert pearson(told, -true * size) == pytest.approx(-expected, abs=near)


def test_correlations_reach_below_zero() -> None:
    assert matthews([0, 1], [1, 0]) == pytest.approx(-1)
    assert pearson([0, 1], [1, 0]) == pytest.approx(-1)


def test_of_logits_and_of_scores() -> None:
    logits = torch.tensor([[0.0, 1.0], [3.0, -1.0], [2.0, 2.0]])  # of equal ones the first
    assert scores(["accuracy", "f1"], logits, [1, 0, 1]) == {
        "accuracy": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
    }
    assert scores(["pearson"], torch.tensor([[1.0], [2.0], [3.0]]), [2.0, 4.0, 6.0]) == {"pearson": pytest.approx(1)}


@pytest.mark.parametrize(
    ("name", "classes", "said"),
    [
        ("f1", 3, "3 classes cannot be measured by 'f1'; known: accuracy, matthews"),
        ("pearson", 2, "2 classes cannot be measured by 'pearson'; known: accuracy, f1, matthews"),
        ("accuracy", 0, "scores cannot be measured by 'accuracy'; known: pearson"),
        ("f1", 0, "scores cannot be measured by 'f1'"),
    ],
)
def test_a_measure_of_other_labels_is_refused(name: str, classes: int, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        require(name, classes)
    with pytest.raises(BadInput, match=said):
        scores([name], torch.zeros(2, max(classes, 1)), [0, 1])


def test_f1_of_a_third_class_is_refused() -> None:
    for told, true in (([0, 2], [0, 1]), ([0, 1], [2, 1])):
        with pytest.raises(BadInput, match="F1 is of two classes, 0 and 1, and there is 2; take accuracy or matthews"):
            f1(told, true)


def test_refused() -> None:
    logits = torch.zeros(2, 2)
    with pytest.raises(BadInput, match="'mathews'; did you mean 'matthews'"):
        scores(["mathews"], logits, [0, 1])
    with pytest.raises(BadInput, match="infinities or NaN"):
        scores(["accuracy"], logits / 0, [0, 1])
    for shape in ((2,), (2, 0), (2, 1, 1), ()):
        with pytest.raises(
            BadInput, match=r"rows x classes, or rows x 1 of scores, not of shape \(.*outputs\[:, None\]"
        ):
            scores(["accuracy"], torch.zeros(shape), [0, 1])
    for told, true in (([0], [0, 1]), ([], [])):
        with pytest.raises(BadInput, match="two rows of one length"):
            accuracy(told, true)
