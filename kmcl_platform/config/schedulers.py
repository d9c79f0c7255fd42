"""Schedulers: the rules of early stopping that a search file may choose."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from kmcl_platform.config.base import Frozen
from kmcl_platform.config.space.distributions import Choice, Distribution, LogUniform, Uniform
from kmcl_platform.config.trial_config import TrialConfig

WARMUP = "optim.warmup_fraction"
"""The path of the share of a trial in which the learning rate rises."""


class SuccessiveHalving(Frozen):
    """Asynchronous successive halving (Li et al., 2020): at epochs min_epochs·factor^i only the best 1/factor go on."""

    kind: Literal["successive_halving"] = "successive_halving"
    min_epochs: int = Field(default=1, ge=1)
    """A file without it gets the first epoch after which no learning rate rises."""
    reduction_factor: int = Field(default=2, ge=2)
    """At each rung, the best one of so many trials goes on, and the next rung is so many times as late."""
    allow_early_rungs: bool = False
    """Accept rungs before the peak of the learning rate, which judge trials on their warm-up."""


class Hyperband(Frozen):
    """Hyperband (Li et al., 2018): brackets of successive halving that begin to stop trials at different epochs."""

    kind: Literal["hyperband"] = "hyperband"
    min_epochs: int = Field(default=1, ge=1)
    """As for successive halving."""
    reduction_factor: int = Field(default=3, ge=2)
    """At each rung, the best one of so many trials goes on, and the next rung is so many times as late."""
    allow_early_rungs: bool = False
    """As for successive halving."""


class NoStopping(Frozen):
    """Every trial trains to its last epoch."""

    kind: Literal["none"] = "none"


class Adaptive(Frozen):
    """Successive halving whose first rung is found while the search runs.

    Nobody is stopped until some trials have trained to their end. The first rung is then the earliest epoch after which
    their order agrees with that at their end; it is looked for again with each further trial of full length.
    """

    kind: Literal["adaptive"] = "adaptive"
    reduction_factor: int = Field(default=3, ge=2)
    """At each rung, the best one of so many trials goes on, and the next rung is so many times as late."""
    min_trials: int = Field(default=5, ge=5)
    """Trials of full length before a trial may be stopped."""
    agreement: float = Field(default=0.6, ge=0, lt=1)
    """Smallest agreement of the two orders: the lower end of the 95 % interval of Kendall's τ."""
    continued_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the trials that should be stopped but train to their end, so that a wrong rung is noticed."""


Scheduler = Annotated[SuccessiveHalving | Hyperband | Adaptive | NoStopping, Field(discriminator="kind")]


def with_first_rung(scheduler: Scheduler, base: TrialConfig, space: Mapping[str, Distribution]) -> Scheduler:
    """The scheduler with the default of `min_epochs`, if it has that field and the file did not give it."""
    if not isinstance(scheduler, SuccessiveHalving | Hyperband) or "min_epochs" in scheduler.model_fields_set:
        return scheduler
    # Not later than the last epoch: a warm-up can be as long as the trial.
    epochs = min(first_epoch_after_warmup(base, space), base.num_epochs)
    # The field stays one that the file did not give.
    return scheduler.model_construct(scheduler.model_fields_set, **(scheduler.model_dump() | {"min_epochs": epochs}))


def first_epoch_after_warmup(base: TrialConfig, space: Mapping[str, Distribution]) -> int:
    """The first epoch after which the learning rate of no trial rises; from 1."""
    # Rounded first: 0.2 of 35 epochs is 7.000000000000001 in floating point.
    return max(1, math.ceil(round(longest_warmup(base, space) * base.num_epochs, 9)))


def longest_warmup(base: TrialConfig, space: Mapping[str, Distribution]) -> float:
    """The longest warm-up of any trial, as a share of its steps; 0 for an own training, of which none is known."""
    if base.own:
        return 0.0
    searched = space.get(WARMUP)
    if isinstance(searched, Choice):
        return max(float(value) for value in searched.choices if isinstance(value, int | float))
    return searched.high if isinstance(searched, Uniform | LogUniform) else base.optim.warmup_fraction
