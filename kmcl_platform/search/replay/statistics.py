"""Medians and comparisons of many simulated searches, some of which may have no value."""

import math
from collections.abc import Sequence

import numpy as np


def quantile_of_searches(values: np.ndarray, share: float, sign: int) -> float | None:
    """A quantile of the values of several searches; None: at that place is a search without a value.

    Args:
        values: NaN: no trial of the search has completed. That is worse than every value.
        share: 0.5 is the median.
        sign: 1: larger values are better; -1: smaller ones are.
    """
    known = np.where(np.isnan(values), -sign * math.inf, values)
    # Between a value and none there is no middle.
    method = "linear" if np.isfinite(known).all() else "lower" if sign > 0 else "higher"
    found = float(np.quantile(known, share, method=method))  # type: ignore[call-overload]
    return found if math.isfinite(found) else None


def median_with_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the ends of its 95 % interval, all of them values of the list, which may be infinite.

    Of n values, the number below the true median has a binomial distribution with mean n/2 and variance n/4.
    """
    ordered, n = sorted(values), len(values)
    half = 0.98 * math.sqrt(n)
    low, high = max(0, math.floor((n - 1) / 2 - half)), min(n - 1, math.ceil((n - 1) / 2 + half))
    return ordered[(n - 1) // 2], ordered[low], ordered[high]


def share_better(finals: np.ndarray, own: np.ndarray, sign: int) -> float:
    """The share of pairs of searches with the same chance in which the first one ends better; a tie counts half.

    Args:
        finals, own: the values of both; NaN: no trial has completed.
        sign: as for `quantile_of_searches`.
    """
    ranked = [np.where(np.isnan(values), -math.inf, sign * values) for values in (finals, own)]
    return float(np.mean((ranked[0] > ranked[1]) + 0.5 * (ranked[0] == ranked[1])))
