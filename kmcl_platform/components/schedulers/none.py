"""`none`: no early stopping."""

from typing import TYPE_CHECKING

from kmcl_platform.plugins import Scheduler, register

if TYPE_CHECKING:
    import optuna


@register("none")
class NoStopping(Scheduler):
    """Every trial trains to its last epoch."""

    def build_pruner(self, num_epochs: int) -> "optuna.pruners.BasePruner":
        import optuna

        return optuna.pruners.NopPruner()

    def stopping_epochs(self, num_epochs: int) -> list[int]:
        return []
