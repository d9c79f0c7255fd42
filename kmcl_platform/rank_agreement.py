"""How far two orders of the same things agree: Kendall's τ with its interval."""

import math
from collections.abc import Sequence
from typing import NamedTuple

FEWEST = 5
"""Things that an interval needs at least."""

_QUANTILE = 1.96
"""Of the normal distribution: 95 % lie within so many standard deviations."""


class RankAgreement(NamedTuple):
    """Kendall's τ of two orders: 1 for the same order, 0 for unrelated ones, -1 for the opposite order.

    Attributes:
        tau: τ.
        low: lower end of its 95 % interval.
        high: its upper end.
    """

    tau: float
    low: float
    high: float


def rank_agreement(first: Sequence[float], second: Sequence[float]) -> RankAgreement:
    """Compare the orders of two lists of values.

    atanh τ has about the variance 0.437 / (n - 4) (Fieller, Hartley and Pearson, 1957). Where one list has only equal
    values there is no order, and τ is 0.

    Args:
        first: n values, at least `FEWEST`.
        second: the values of the same things, in the same sequence.

    Raises:
        ValueError: there are fewer values.
    """
    from scipy.stats import kendalltau

    if len(first) < FEWEST:
        raise ValueError(f"first: got {len(first)} values; valid: at least {FEWEST}")
    tau = float(kendalltau(first, second).statistic)
    if math.isnan(tau):
        tau = 0.0
    if abs(tau) > 1 - 1e-12:  # atanh is infinite there.
        return RankAgreement(tau, tau, tau)
    half = _QUANTILE * math.sqrt(0.437 / (len(first) - 4))
    return RankAgreement(tau, math.tanh(math.atanh(tau) - half), math.tanh(math.atanh(tau) + half))
