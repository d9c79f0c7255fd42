"""`adaptive`: successive halving whose first rung is found while the search runs."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from kmcl_platform.components.schedulers.brackets import epochs_of_bracket
from kmcl_platform.plugins import Scheduler, register

if TYPE_CHECKING:
    import optuna


@register("adaptive")
class Adaptive(Scheduler):
    """Successive halving whose first rung is found while the search runs.

    Nobody is stopped until some trials have trained to their end. The first rung is then the earliest epoch after which
    their order agrees with that at their end; it is looked for again with each further trial of full length.
    """

    finds_rungs: ClassVar[bool] = True

    reduction_factor: int = Field(default=3, ge=2)
    """At each rung, the best one of so many trials goes on, and the next rung is so many times as late."""
    min_trials: int = Field(default=5, ge=5)
    """Trials of full length before a trial may be stopped."""
    agreement: float = Field(default=0.6, ge=0, lt=1)
    """Smallest agreement of the two orders: the lower end of the 95 % interval of Kendall's τ."""
    continued_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the trials that should be stopped but train to their end, so that a wrong rung is noticed."""

    def build_pruner(self, num_epochs: int) -> "optuna.pruners.BasePruner":
        from kmcl_platform.components.schedulers.pruners.adaptive import AdaptivePruner

        return AdaptivePruner(self, num_epochs)

    def stopping_epochs(self, num_epochs: int) -> list[int]:
        return list(range(1, num_epochs))

    def fewest_epochs(self, num_epochs: int, num_trials: float) -> float:
        # After the trials of full length, the first rung may be epoch 1.
        whole = min(num_trials, self.min_trials)
        return whole * num_epochs + (num_trials - whole)

    def expected_epochs(self, num_epochs: int, num_trials: float) -> float:
        # The first rung is not known: half of the epochs, where the order of most searches is that of the end.
        whole, rung = min(num_trials, self.min_trials), max(1, num_epochs // 2)
        return whole * num_epochs + epochs_of_bracket(num_trials - whole, rung, self.reduction_factor, num_epochs)
