"""`successive_halving`: asynchronous successive halving (Li et al., 2020)."""

from typing import TYPE_CHECKING

from pydantic import Field

from kmcl_platform.components.schedulers.brackets import epochs_of_bracket, ladder
from kmcl_platform.plugins import RungScheduler, register

if TYPE_CHECKING:
    import optuna


@register("successive_halving")
class SuccessiveHalving(RungScheduler):
    """Asynchronous successive halving (Li et al., 2020).

    At epochs min_epochs·factor^i only the best 1/factor of the trials that have come so far go on.
    """

    reduction_factor: int = Field(default=2, ge=2)
    """At each rung, the best one of so many trials goes on, and the next rung is so many times as late."""

    def build_pruner(self, num_epochs: int) -> "optuna.pruners.BasePruner":
        from kmcl_platform.components.schedulers.pruners.rungs import SuccessiveHalvingPruner

        return SuccessiveHalvingPruner(self.stopping_epochs(num_epochs), self.reduction_factor)

    def stopping_epochs(self, num_epochs: int) -> list[int]:
        return ladder(self.min_epochs, self.reduction_factor, num_epochs)

    def expected_epochs(self, num_epochs: int, num_trials: float) -> float:
        return epochs_of_bracket(num_trials, self.min_epochs, self.reduction_factor, num_epochs)
