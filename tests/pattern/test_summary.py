"""Many matrices in a few figures, by hand."""

from __future__ import annotations

import pytest
import torch

from niwaki.errors import BadInput
from niwaki.pattern import gini_by_chance, look, spread_by_chance, summary

EYE = torch.eye(2)  # 4 weights, 2 alive, all counts alike
ROW = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0, 0, 0, 0], [0, 0, 0, 0]])  # 12 weights, 4 alive, in one row


def test_two_matrices_by_hand() -> None:
    found = summary({"eye": look(EYE), "row": look(ROW)})
    assert (found.matrices, found.weights, found.survivors, found.sparsity) == (2, 16, 6, 10 / 16)
    # One of three rows has everything: Gini 2/3, spread √2. Four weights have 0, and twelve these.
    assert found.gini_rows == pytest.approx(2 / 3 * 12 / 16)
    assert found.spread_rows == pytest.approx(2**0.5 * 12 / 16)
    assert (found.gini_columns, found.spread_columns) == (0, 0)
    assert (found.empty_rows, found.empty_columns) == (2 / 5, 0)
    chance = [(4, gini_by_chance(2, 1 / 2)), (12, gini_by_chance(4, 1 / 3))]
    assert found.gini_rows_by_chance == pytest.approx(sum(n * g for n, g in chance) / 16)
    columns = [(4, spread_by_chance(2, 1 / 2)), (12, spread_by_chance(3, 1 / 3))]
    assert found.spread_columns_by_chance == pytest.approx(sum(n * g for n, g in columns) / 16)


def test_names_do_not_matter() -> None:
    patterns = [look(EYE), look(ROW)]
    assert summary(patterns) == summary(dict(zip("ab", patterns, strict=True))) == summary(iter(patterns))


def test_one_matrix_is_its_own_mean() -> None:
    one = look(ROW)
    found = summary([one])
    for name in ("gini_rows", "gini_columns", "spread_rows", "spread_columns"):
        assert getattr(found, name) == pytest.approx(getattr(one, name))


def test_a_kernel_counts_with_all_its_positions() -> None:
    found = summary([look(torch.ones(2, 3, 3, 3)), look(torch.zeros(2, 3))])
    assert found.sparsity == pytest.approx(6 / 60)
    assert found.gini_rows_by_chance == 0


def test_nothing_has_no_summary() -> None:
    with pytest.raises(BadInput, match="one matrix at least"):
        summary({})
