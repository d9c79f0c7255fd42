"""Schedulers: the rules of early stopping that a search file may choose."""

from typing import Annotated, Literal

from pydantic import Field

from kmcl_platform.config.base import Frozen


class SuccessiveHalving(Frozen):
    """Asynchronous successive halving (Li et al., 2020): at epochs min_epochs·factor^i only the best 1/factor go on."""

    kind: Literal["successive_halving"] = "successive_halving"
    min_epochs: int = Field(default=1, ge=1)
    reduction_factor: int = Field(default=2, ge=2)
    allow_early_rungs: bool = False
    """Accept rungs before the peak of the learning rate, which judge trials on their warm-up."""


class Hyperband(Frozen):
    """Hyperband (Li et al., 2018): brackets of successive halving that begin to stop trials at different epochs."""

    kind: Literal["hyperband"]
    min_epochs: int = Field(default=1, ge=1)
    reduction_factor: int = Field(default=3, ge=2)
    allow_early_rungs: bool = False
    """As for successive halving."""


class NoStopping(Frozen):
    """Every trial trains to its last epoch."""

    kind: Literal["none"]


class Adaptive(Frozen):
    """Successive halving whose first rung is found while the search runs.

    Nobody is stopped until some trials have trained to their end. The first rung is then the earliest epoch after which
    their order agrees with that at their end; it is looked for again with each further trial of full length.
    """

    kind: Literal["adaptive"]
    reduction_factor: int = Field(default=3, ge=2)
    min_trials: int = Field(default=5, ge=5)
    """Trials of full length before a trial may be stopped."""
    agreement: float = Field(default=0.6, ge=0, lt=1)
    """Smallest agreement of the two orders: the lower end of the 95 % interval of Kendall's τ."""
    continued_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the trials that should be stopped but train to their end, so that a wrong rung is noticed."""


Scheduler = Annotated[SuccessiveHalving | Hyperband | Adaptive | NoStopping, Field(discriminator="kind")]
