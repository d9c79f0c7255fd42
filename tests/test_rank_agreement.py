"""Kendall's τ with an interval that covers the true one."""

import numpy as np
import pytest

from kmcl_platform.rank_agreement import rank_agreement


def test_equal_opposite_and_missing_orders() -> None:
    assert rank_agreement([1, 2, 3, 4, 5], [1, 4, 9, 16, 25]) == pytest.approx((1, 1, 1))
    assert rank_agreement([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]) == pytest.approx((-1, -1, -1))
    tau, low, high = rank_agreement([1, 1, 1, 1, 1], [5, 4, 3, 2, 1])
    assert tau == 0 and low < 0 < high
    with pytest.raises(ValueError, match="first: got 4 values; valid: at least 5"):
        rank_agreement([1, 2, 3, 4], [1, 2, 3, 4])


def test_few_values_are_uncertain() -> None:
    tau, low, high = rank_agreement([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 6, 5])
    assert tau == pytest.approx(13 / 15)
    assert 0.1 < low < 0.6 < high < 1


def test_the_interval_contains_the_true_value_in_nineteen_of_twenty_samples() -> None:
    """Two normal variables of correlation r have the τ 2/π·asin r."""
    correlation, size = 0.7, 20
    rng = np.random.default_rng(0)
    truth = 2 / np.pi * np.arcsin(correlation)
    inside = []
    for _ in range(1000):
        x = rng.normal(size=size)
        y = correlation * x + (1 - correlation**2) ** 0.5 * rng.normal(size=size)
        found = rank_agreement(x.tolist(), y.tolist())
        inside.append(found.low <= truth <= found.high)
    assert 0.92 < np.mean(inside) < 0.98
