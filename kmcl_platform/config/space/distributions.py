"""Distributions: the values of one hyperparameter that a search may try."""

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from kmcl_platform.config.base import Frozen
from kmcl_platform.config.trial_config import FileScalar, Scalar

ZERO_SHARE = 0.25
"""Share of a `loguniform` range with `zero: true` that stands for 0; a random point is 0 with this probability."""


class _Conditional(Frozen):
    when: dict[str, FileScalar] = Field(default_factory=dict)
    """The path is searched only in trials that have these values. All other trials have the base's value."""


class Uniform(_Conditional):
    """A real number, uniform in [low, high]."""

    kind: Literal["uniform"] = "uniform"
    low: float
    """Smallest value."""
    high: float
    """Largest value."""

    @model_validator(mode="after")
    def _check_order(self) -> "Uniform":
        _check_low_below_high(self.low, self.high)
        return self

    def edges(self) -> list[Scalar]:
        """Low, high and one value between them."""
        return [self.low, self.high, (self.low + self.high) / 2]

    def contains(self, value: Scalar) -> bool:
        """Whether a value lies in the distribution's range."""
        return _is_number(value) and self.low <= float(value) <= self.high  # type: ignore[arg-type]


class LogUniform(_Conditional):
    """A positive real number, uniform in its logarithm on [low, high]; with `zero` also exactly 0.

    Optuna sees one number on one logarithmic axis. With `zero` the axis begins below `low`, and every place below `low`
    stands for 0. So all samplers can use it as any other number, and a small weight is next to 0, as its effect is.
    """

    kind: Literal["loguniform"] = "loguniform"
    low: float = Field(gt=0)
    """Smallest value, except 0."""
    high: float = Field(gt=0)
    """Largest value."""
    zero: bool = False
    """The value can also be exactly 0, which leaves a term out of the loss. One random point in four is 0."""

    @model_validator(mode="after")
    def _check_order(self) -> "LogUniform":
        _check_low_below_high(self.low, self.high)
        if self.zero and not 0 < self.axis_low < self.low:
            raise ValueError(f"a narrower range where zero is true (low is {self.low}, high is {self.high})")
        return self

    @property
    def axis_low(self) -> float:
        """The low end of Optuna's axis. With `zero`, `ZERO_SHARE` of the axis lies below `low`."""
        # On the logarithmic axis, the added part is s / (1 - s) times as long as [low, high].
        return self.low * (self.low / self.high) ** (ZERO_SHARE / (1 - ZERO_SHARE)) if self.zero else self.low

    def to_value(self, place: float) -> float:
        """The value that a place on Optuna's axis stands for."""
        return 0.0 if place < self.low else place

    def to_place(self, value: float) -> float:
        """The place of a value on Optuna's axis; of 0, the middle of the part that stands for it."""
        return value or (self.axis_low * self.low) ** 0.5

    def edges(self) -> list[Scalar]:
        """Low, high and their geometric mean; with `zero` also 0."""
        return [self.low, self.high, (self.low * self.high) ** 0.5, *([0.0] if self.zero else [])]

    def contains(self, value: Scalar) -> bool:
        """Whether a value lies in the distribution's range."""
        if not _is_number(value):
            return False
        number = float(value)  # type: ignore[arg-type]
        return self.low <= number <= self.high or (self.zero and number == 0)


class Int(_Conditional):
    """A whole number in [low, high], both ends included; `log` searches its logarithm."""

    kind: Literal["int"] = "int"
    low: int
    """Smallest value."""
    high: int
    """Largest value."""
    log: bool = False
    """Whether the logarithm is searched, so that small values are tried more often."""

    @model_validator(mode="after")
    def _check_order(self) -> "Int":
        _check_low_below_high(self.low, self.high)
        if self.log and self.low < 1:
            raise ValueError(f"low: got {self.low}; valid: a whole number of at least 1, because log is true")
        return self

    def edges(self) -> list[Scalar]:
        """Low, high and the middle; with `log` the middle is the geometric mean, rounded."""
        middle = round(math.sqrt(self.low * self.high)) if self.log else (self.low + self.high) // 2
        return [self.low, self.high, middle]

    def contains(self, value: Scalar) -> bool:
        """Whether a value lies in the distribution's range."""
        return _is_number(value) and float(value).is_integer() and self.low <= int(value) <= self.high  # type: ignore[arg-type]


class Choice(_Conditional):
    """One of a list of values."""

    kind: Literal["choice"] = "choice"
    choices: tuple[FileScalar, ...] = Field(min_length=1)
    """The values, all different."""

    @field_validator("choices")
    @classmethod
    def _check_distinct(cls, choices: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        if len(set(choices)) != len(choices):
            raise ValueError("choices that differ from one another")
        return choices

    def edges(self) -> list[Scalar]:
        """Every choice."""
        return list(self.choices)

    def contains(self, value: Scalar) -> bool:
        """Whether a value is one of the choices."""
        return value in self.choices


Distribution = Annotated[Uniform | LogUniform | Int | Choice, Field(discriminator="kind")]


def _check_low_below_high(low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"low below high (low is {low}, high is {high})")


def _is_number(value: Scalar) -> bool:
    # In Python, a bool is an int.
    return isinstance(value, int | float) and not isinstance(value, bool)
