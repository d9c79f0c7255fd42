"""Bounds of the space that the best trials are close to, and the range to search next."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kmcl_platform.config.space.distributions import Choice, Distribution, Int, LogUniform
from kmcl_platform.config.trial_config import Scalar

EDGE = 0.1
"""Share of a range, at each end, that is close to the bound; on a logarithmic scale if the range has one."""


@dataclass(frozen=True)
class LimitingBound:
    """A bound that most of the best trials are close to.

    Attributes:
        path: a path of the space.
        side: `low` or `high`.
        bound: its value.
        num_close: number of the best trials in the edge at this bound.
        num_best: number of the best trials that searched the path.
        suggestion: the range to search next, as the search file has it.
        is_last: no value beyond the bound is valid.
    """

    path: str
    side: str
    bound: float
    num_close: int
    num_best: int
    suggestion: str
    is_last: bool


def find_limiting_bounds(
    space: Mapping[str, Distribution],
    best: Sequence[Mapping[str, Scalar]],
    is_valid: Callable[[str, Scalar], bool],
) -> list[LimitingBound]:
    """Find the bounds that limit the best trials.

    A bound is found if more than half of the best trials are in the tenth of the range next to it. Of values drawn
    uniformly, one in ten is there.

    Args:
        space: the space of the search file.
        best: Optuna's parameters of the best trials, without paths that a trial did not search.
        is_valid: whether a trial may have a value at a path. Only valid values are suggested.
    """
    found = []
    for path, distribution in space.items():
        if isinstance(distribution, Choice):
            continue
        places = [_place(distribution, float(values[path])) for values in best if path in values]  # type: ignore[arg-type]
        # A place below the range stands for 0 (`zero: true`), which is no reason for a lower bound.
        places = [place for place in places if place >= 0]
        for side, is_close in (("low", lambda place: place <= EDGE), ("high", lambda place: place >= 1 - EDGE)):
            count = sum(map(is_close, places))
            # A single trial would always be more than half of all.
            if len(places) >= 2 and 2 * count > len(places):
                bound = float(distribution.low if side == "low" else distribution.high)
                low, high = _suggest(path, distribution, side, is_valid)
                text = "low: {}, high: {}".format(*(one if isinstance(one, int) else f"{one:g}" for one in (low, high)))
                is_last = bound == (low if side == "low" else high)
                found.append(LimitingBound(path, side, bound, count, len(places), text, is_last))
    return found


def _is_log(distribution: Distribution) -> bool:
    return isinstance(distribution, LogUniform) or (isinstance(distribution, Int) and distribution.log)


def _place(distribution: Distribution, value: float) -> float:
    """Place of a value in its range: 0 at the low end, 1 at the high end."""
    assert not isinstance(distribution, Choice)
    low, high = float(distribution.low), float(distribution.high)
    if _is_log(distribution):
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _suggest(
    path: str, distribution: Distribution, side: str, is_valid: Callable[[str, Scalar], bool]
) -> tuple[float, float]:
    """The half of the range next to the bound and, if it is valid, the same width beyond the bound."""
    assert not isinstance(distribution, Choice)
    low, high = float(distribution.low), float(distribution.high)
    if _is_log(distribution):
        # On a logarithmic scale a width is a factor; this one is the square root of the whole range's.
        half = math.sqrt(high / low)
        ends = (low / half, low * half) if side == "low" else (high / half, high * half)
    else:
        half = (high - low) / 2
        ends = (low - half, low + half) if side == "low" else (high - half, high + half)
    if isinstance(distribution, Int):
        # Rounded outwards: the suggestion has the whole half range.
        ends = (math.floor(ends[0]), math.ceil(ends[1]))
    else:
        # Before the checks below: a valid end may be rounded to one that is not.
        ends = (float(f"{ends[0]:.3g}"), float(f"{ends[1]:.3g}"))
    # Rounding down may give 0, which has no logarithm.
    if not is_valid(path, ends[0]) or (_is_log(distribution) and ends[0] <= 0):
        ends = (distribution.low, ends[1])
    if not is_valid(path, ends[1]):
        ends = (ends[0], distribution.high)
    return ends
