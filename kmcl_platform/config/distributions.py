"""Distributions: the values of one hyperparameter that a search may try."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from kmcl_platform.config.base import Frozen
from kmcl_platform.config.trial_config import FileScalar, Scalar


class _Conditional(Frozen):
    when: dict[str, FileScalar] = Field(default_factory=dict)
    """The path is searched only in trials that have these values. All other trials have the base's value."""


class Uniform(_Conditional):
    """A real number, uniform in [low, high]."""

    kind: Literal["uniform"]
    low: float
    high: float

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
    """A positive real number, uniform in its logarithm on [low, high]."""

    kind: Literal["loguniform"]
    low: float = Field(gt=0)
    high: float = Field(gt=0)

    @model_validator(mode="after")
    def _check_order(self) -> "LogUniform":
        _check_low_below_high(self.low, self.high)
        return self

    def edges(self) -> list[Scalar]:
        """Low, high and their geometric mean."""
        return [self.low, self.high, (self.low * self.high) ** 0.5]

    def contains(self, value: Scalar) -> bool:
        """Whether a value lies in the distribution's range."""
        return _is_number(value) and self.low <= float(value) <= self.high  # type: ignore[arg-type]


class Int(_Conditional):
    """A whole number in [low, high], both ends included; `log` searches its logarithm."""

    kind: Literal["int"]
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _check_order(self) -> "Int":
        _check_low_below_high(self.low, self.high)
        if self.log and self.low < 1:
            raise ValueError(f"low of at least 1 where log is true (low is {self.low})")
        return self

    def edges(self) -> list[Scalar]:
        """Low, high and the middle."""
        return [self.low, self.high, (self.low + self.high) // 2]

    def contains(self, value: Scalar) -> bool:
        """Whether a value lies in the distribution's range."""
        return _is_number(value) and float(value).is_integer() and self.low <= int(value) <= self.high  # type: ignore[arg-type]


class Choice(_Conditional):
    """One of a list of values."""

    kind: Literal["choice"]
    choices: tuple[FileScalar, ...] = Field(min_length=1)

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
