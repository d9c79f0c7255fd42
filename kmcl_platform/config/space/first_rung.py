"""The first rung of early stopping: not before the peak of the learning rate."""

import math
from collections.abc import Mapping

from kmcl_platform.config.space.distributions import Choice, Distribution, LogUniform, Uniform
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.plugins.scheduler import RungScheduler, Scheduler

WARMUP = "optim.warmup_fraction"
"""The path of the share of a trial in which the learning rate rises."""


def with_first_rung(scheduler: Scheduler, base: TrialConfig, space: Mapping[str, Distribution]) -> Scheduler:
    """The scheduler with the default of `min_epochs`, if it has that field and the file did not give it."""
    if not isinstance(scheduler, RungScheduler) or "min_epochs" in scheduler.model_fields_set:
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
