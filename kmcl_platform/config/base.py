"""The base class of all configuration types, and single values."""

import math
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from kmcl_platform.plugins.component import Record
from kmcl_platform.plugins.record_errors import describe_error as describe_error


class Frozen(Record):
    """A part of a configuration."""


Scalar = bool | int | float | str | None


def _check_one_value(value: object) -> object:
    if isinstance(value, dict | list):
        raise ValueError("one value: a number, text, true, false or null")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a finite number")
    return value


FileScalar = Annotated[Scalar, BeforeValidator(_check_one_value)]
"""A scalar as a field of a search file. Checked first, so that an error does not name every type of the union."""


def _check_own_name(name: str) -> str:
    # A dot would make two parts of a dotted path.
    if not re.fullmatch(r"\w{1,100}", name):
        raise ValueError("a name of letters, digits and _")
    return name


OwnName = Annotated[str, AfterValidator(_check_own_name)]
"""The name of a value of a user's own training."""
