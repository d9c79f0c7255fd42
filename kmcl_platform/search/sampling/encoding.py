"""A point of a space as a list of numbers, in which two points that are alike are near each other."""

import math
from collections.abc import Mapping

import numpy as np

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.distributions import Choice, Int, LogUniform, Uniform
from kmcl_platform.config.trial_config import Scalar

_NULL = -0.5
"""The place of null beside a range, which is [0, 1]."""


def encode(values: Mapping[str, Scalar], file: SearchFile) -> np.ndarray:
    """A point as numbers_D: a range becomes [0, 1] (its logarithm where that is searched), a choice one number each.

    A path whose condition does not hold has the value of the base; it is the same for all such points.
    """
    base = file.base.flat()
    known = base | dict(values)
    numbers: list[float] = []
    for path, distribution in file.space.items():
        active = all(known[condition] == wanted for condition, wanted in distribution.when.items())
        value = known[path] if active else base[path]
        if isinstance(distribution, Choice):
            numbers += [float(value == choice) for choice in distribution.choices]
        else:
            # Null is no number of the range; all points that have it are alike.
            numbers.append(_NULL if value is None else _place(float(value), distribution))
    return np.array(numbers)


def _place(value: float, distribution: Uniform | LogUniform | Int) -> float:
    low, high = float(distribution.low), float(distribution.high)
    if isinstance(distribution, LogUniform):
        # With `zero`, the axis begins below `low`, and 0 has a place there.
        low, value = distribution.axis_low, distribution.to_place(value)
    elif isinstance(distribution, Uniform) or not distribution.log:
        return (value - low) / (high - low)
    return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
