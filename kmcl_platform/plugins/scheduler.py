"""`Scheduler`: the base class of schedulers, the rules of early stopping."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from kmcl_platform.plugins.component import Component

if TYPE_CHECKING:
    import optuna


class Scheduler(Component):
    """Which trials are stopped early, and after which epochs.

    A scheduler of your own has options as fields and the methods `build_pruner` and `stopping_epochs`. The first builds
    one of Optuna's pruners or one that inherits from `optuna.pruners.BasePruner`.

    Attributes:
        finds_rungs: the epochs at which it compares trials are found while the search runs.
    """

    kind: ClassVar[str] = "scheduler"
    package: ClassVar[str] = "schedulers"
    finds_rungs: ClassVar[bool] = False

    @classmethod
    def find_problem(cls) -> str | None:
        for method in ("build_pruner", "stopping_epochs"):
            if getattr(cls, method) is getattr(Scheduler, method):
                return f"a class without the method `{method}`; valid: a class that has it"
        return None

    def build_pruner(self, num_epochs: int) -> "optuna.pruners.BasePruner":
        """The rule that decides after an epoch whether a trial is stopped.

        It is built again each time the search starts. What it has to know of earlier trials is in the study.

        Args:
            num_epochs: epochs of a whole trial, at least 1.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `build_pruner`")

    def stopping_epochs(self, num_epochs: int) -> list[int]:
        """All epochs after which the rule may stop a trial, in order, each from 1 to `num_epochs` - 1.

        A trial with a frozen backbone writes a checkpoint only after these epochs. `kmcl plan` shows them.

        Args:
            num_epochs: epochs of a whole trial, at least 1.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `stopping_epochs`")

    def fewest_epochs(self, num_epochs: int, num_trials: float) -> float:
        """Epochs of all trials if every trial but one is stopped as early as possible, for the forecast.

        Args:
            num_epochs: epochs of a whole trial.
            num_trials: at least 1; an expected number can be a fraction.
        """
        first = [*self.stopping_epochs(num_epochs), num_epochs][0]
        return num_epochs + (num_trials - 1) * first

    def expected_epochs(self, num_epochs: int, num_trials: float) -> float:
        """The expected number of epochs of all trials, for the forecast; by default as if no trial were stopped.

        Args:
            num_epochs: epochs of a whole trial.
            num_trials: at least 1; an expected number can be a fraction.
        """
        return num_trials * num_epochs


class RungScheduler(Scheduler):
    """A scheduler with a first rung, the first epoch after which it compares trials.

    A first rung at which the learning rate of a trial still rises is refused: it would judge trials on their warm-up.
    """

    min_epochs: int = Field(default=1, ge=1)
    """The first rung. A file without it gets the first epoch after which no learning rate rises."""
    allow_early_rungs: bool = False
    """Accept rungs before the peak of the learning rate, which judge trials on their warm-up."""
