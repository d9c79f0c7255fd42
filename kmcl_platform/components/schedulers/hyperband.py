"""`hyperband`: Hyperband (Li et al., 2018), as Optuna has it."""

import math
from typing import TYPE_CHECKING

from pydantic import Field

from kmcl_platform.components.schedulers.brackets import epochs_of_bracket, ladder
from kmcl_platform.plugins import RungScheduler, register

if TYPE_CHECKING:
    import optuna


@register("hyperband")
class Hyperband(RungScheduler):
    """Hyperband (Li et al., 2018): brackets of successive halving that begin to stop trials at different rungs."""

    reduction_factor: int = Field(default=3, ge=2)
    """At each rung, the best one of so many trials goes on, and the next rung is so many times as late."""

    def build_pruner(self, num_epochs: int) -> "optuna.pruners.BasePruner":
        from kmcl_platform.components.schedulers.pruners.hyperband import HyperbandPruner

        return HyperbandPruner(
            min_resource=self.min_epochs, max_resource=num_epochs, reduction_factor=self.reduction_factor
        )

    def stopping_epochs(self, num_epochs: int) -> list[int]:
        return ladder(self.min_epochs, self.reduction_factor, num_epochs)

    def fewest_epochs(self, num_epochs: int, num_trials: float) -> float:
        first = sum(share * min(rung, num_epochs) for share, rung in self._brackets(num_epochs))
        return num_epochs + (num_trials - 1) * first

    def expected_epochs(self, num_epochs: int, num_trials: float) -> float:
        return sum(
            epochs_of_bracket(num_trials * share, rung, self.reduction_factor, num_epochs)
            for share, rung in self._brackets(num_epochs)
        )

    def _brackets(self, num_epochs: int) -> list[tuple[float, int]]:
        """Each bracket's share of the trials, and its first rung."""
        # The same brackets and weights as Optuna's: the first rung of bracket b is first · factor^b.
        first, factor = self.min_epochs, self.reduction_factor
        # Optuna's own formula: its logarithm of 243 to the base 3 is a little less than 5.
        count = max(1, math.floor(math.log(num_epochs / first, factor)) + 1)
        weights = [-(-count * factor ** (count - 1 - b) // (count - b)) for b in range(count)]
        return [(weight / sum(weights), first * factor**b) for b, weight in enumerate(weights)]
