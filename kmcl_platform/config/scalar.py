"""Scalar: one value of a trial's configuration."""

import math
from typing import Annotated

from pydantic import BeforeValidator

Scalar = bool | int | float | str | None


def _check_one_value(value: object) -> object:
    if isinstance(value, dict | list):
        raise ValueError("one value: a number, text, true, false or null")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a finite number")
    return value


FileScalar = Annotated[Scalar, BeforeValidator(_check_one_value)]
"""A scalar as a field of a search file. Checked first, so that an error does not name every type of the union."""
