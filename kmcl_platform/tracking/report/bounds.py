"""Which bounds of the space the best trials press against, and what to search next. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kmcl_platform.config.distributions import Choice, Distribution, Int, LogUniform
from kmcl_platform.config.trial_config import Scalar

EDGE = 0.1
"""Share of a range, linear or logarithmic as it is searched, that counts as its edge."""


@dataclass(frozen=True)
class Pressure:
    """A bound that most of the best trials lie at.

    Attributes:
        path: of the space.
        side: `low` or `high`.
        bound: the value there.
        num_pressing: of the best trials, those in the edge.
        num_best: best trials that searched the path.
        suggestion: the range to search next, in words.
    """

    path: str
    side: str
    bound: float
    num_pressing: int
    num_best: int
    suggestion: str


def find_pressures(
    space: Mapping[str, Distribution],
    best: Sequence[Mapping[str, Scalar]],
    is_valid: Callable[[str, Scalar], bool],
) -> list[Pressure]:
    """Look at every range of the space.

    A bound is pressed against where more than half of the best trials lie within the tenth of the range next to it; of
    a uniform draw, one in ten would.

    Args:
        space: of the search file.
        best: values of the best trials; paths that a trial did not search are left out.
        is_valid: whether a trial may have a value at a path: no range is suggested that leaves what is valid.
    """
    found = []
    for path, distribution in space.items():
        if isinstance(distribution, Choice):
            continue
        places = [_place(distribution, float(values[path])) for values in best if path in values]  # type: ignore[arg-type]
        for side, is_pressing in (("low", lambda place: place <= EDGE), ("high", lambda place: place >= 1 - EDGE)):
            count = sum(map(is_pressing, places))
            if len(places) >= 2 and 2 * count > len(places):
                bound = float(distribution.low if side == "low" else distribution.high)
                found.append(
                    Pressure(path, side, bound, count, len(places), _suggest(path, distribution, side, is_valid))
                )
    return found


def _is_log(distribution: Distribution) -> bool:
    return isinstance(distribution, LogUniform) or (isinstance(distribution, Int) and distribution.log)


def _place(distribution: Distribution, value: float) -> float:
    """Where a value lies in its range: 0 at the low end, 1 at the high one."""
    assert not isinstance(distribution, Choice)
    low, high = float(distribution.low), float(distribution.high)
    if _is_log(distribution):
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _suggest(path: str, distribution: Distribution, side: str, is_valid: Callable[[str, Scalar], bool]) -> str:
    """The half of the range at the bound and, where that is valid, as much again beyond it."""
    assert not isinstance(distribution, Choice)
    low, high = float(distribution.low), float(distribution.high)
    if _is_log(distribution):
        half = math.sqrt(high / low)
        ends = (low / half, low * half) if side == "low" else (high / half, high * half)
    else:
        half = (high - low) / 2
        ends = (low - half, low + half) if side == "low" else (high - half, high + half)
    if isinstance(distribution, Int):
        ends = (math.floor(ends[0]), math.ceil(ends[1]))
    if not is_valid(path, ends[0]) or (_is_log(distribution) and ends[0] <= 0):
        ends = (distribution.low, ends[1])
    if not is_valid(path, ends[1]):
        ends = (ends[0], distribution.high)
    return f"low: {ends[0]:.3g}, high: {ends[1]:.3g}"
