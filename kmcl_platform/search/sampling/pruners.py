"""Pruners, by their names in a search file."""

import optuna
from optuna.trial import FrozenTrial

from kmcl_platform.config.schedulers import Adaptive, Hyperband, Scheduler, SuccessiveHalving
from kmcl_platform.search.sampling.adaptive import AdaptivePruner
from kmcl_platform.search.sampling.rungs import SuccessiveHalvingPruner, VerdictPruner, ladder
from kmcl_platform.tracking.runs.names import OUTSIDE_SPACE


def build_pruner(scheduler: Scheduler, num_epochs: int) -> optuna.pruners.BasePruner:
    """The rule that decides which trials are stopped early.

    Args:
        scheduler: the choice of the search file.
        num_epochs: epochs of a whole trial.
    """
    match scheduler:
        case Adaptive():
            return AdaptivePruner(scheduler, num_epochs)
        case SuccessiveHalving(reduction_factor=factor):
            return SuccessiveHalvingPruner(stopping_epochs(scheduler, num_epochs), factor)
        case Hyperband(min_epochs=min_epochs, reduction_factor=factor):
            return _Hyperband(min_resource=min_epochs, max_resource=num_epochs, reduction_factor=factor)
        case _:
            return optuna.pruners.NopPruner()


def stopping_epochs(scheduler: Scheduler, num_epochs: int) -> list[int]:
    """The epochs after which the rule may stop a trial: those of its rungs, below `num_epochs`.

    >>> stopping_epochs(SuccessiveHalving(min_epochs=1, reduction_factor=2), 20)
    [1, 2, 4, 8, 16]
    """
    match scheduler:
        # The brackets of Hyperband begin at different rungs of the same ladder.
        case (
            SuccessiveHalving(min_epochs=epoch, reduction_factor=factor)
            | Hyperband(min_epochs=epoch, reduction_factor=factor)
        ):
            return ladder(epoch, factor, num_epochs)
        case Adaptive():
            return list(range(1, num_epochs))
        case _:
            return []


def decide_before_report(study: optuna.Study, trial: FrozenTrial, epoch: int, value: float) -> str | None:
    """Store the verdict on a trial that is about to report a value, if its pruner keeps verdicts.

    Returns:
        A line for the user, if the pruner's rungs have changed.
    """
    return study.pruner.decide(study, trial, epoch, value) if isinstance(study.pruner, VerdictPruner) else None


class _Hyperband(optuna.pruners.HyperbandPruner):
    """Optuna's Hyperband, whose brackets have no baselines outside the space.

    A bracket reads the trials from the database, not through `SearchStudy`.
    """

    def _get_bracket_id(self, study: optuna.Study, trial: FrozenTrial) -> int:
        return -1 if OUTSIDE_SPACE in trial.user_attrs else super()._get_bracket_id(study, trial)
