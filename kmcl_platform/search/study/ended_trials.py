"""When and how trials of a study end, and which of them are the best."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.reports.trial_marks import AIMS
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.aims import find_front
from kmcl_platform.search.sampling.asking import is_searched

if TYPE_CHECKING:
    from kmcl_platform.search.study.point import Point
    from kmcl_platform.search.study.study import DurableStudy

TrialEnd = Literal["completed", "pruned", "failed", "diverged"]
"""How a trial ended. A diverged one is COMPLETE in Optuna, with an infinite value, the worst there is."""


STATES: dict[TrialEnd, TrialState] = {
    "completed": TrialState.COMPLETE,
    "diverged": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
"""Optuna's state of a trial that ended so."""


def judge_epoch(
    study: "DurableStudy",
    point: "Point",
    epoch: int,
    value: float,
    *,
    seconds: float,
    num_epochs: int,
    aims: Mapping[str, float] | None = None,
) -> TrialEnd | None:
    """Store a trial's value after an epoch, and decide whether the trial ends there; None: it goes on.

    Args:
        study: the study.
        point: the trial.
        epoch: the epoch that it has finished.
        value: the objective after it.
        seconds: of the epoch's training and evaluation.
        num_epochs: epochs of a whole trial.
        aims: its values of the other objectives and of the constraints. None: the search has none.
    """
    study.report(point.number, epoch, value, seconds=seconds, aims=aims)
    # A repeated report of an earlier epoch was decided when it came first.
    pruned = epoch >= point.reached and study.should_prune(point.number)
    # At its last epoch a trial is complete, whatever the pruner says: nothing can be saved by stopping it.
    if epoch == num_epochs:
        return "completed"
    return "pruned" if pruned else None


def trial_end(trial: FrozenTrial) -> TrialEnd | None:
    """How a trial ended; None: it has not."""
    match trial.state:
        case TrialState.COMPLETE:
            return "completed" if _is_finite(trial.value) else "diverged"
        case TrialState.PRUNED:
            return "pruned"
        case TrialState.FAIL:
            return "failed"
        case _:
            return None


def last_value(trial: FrozenTrial) -> float | None:
    """A trial's final value, or the last that it reported; None: it has none."""
    # A diverged trial has a final value too, but it is infinite: its last report says more.
    if trial_end(trial) == "completed":
        return trial.value
    reported = trial.intermediate_values[trial.last_step] if trial.last_step is not None else None
    return reported if _is_finite(reported) else None


def best_trials(trials: Iterable[FrozenTrial], sign: int) -> list[FrozenTrial]:
    """The completed trials, the best first; of equals the earlier.

    Args:
        trials: of one study.
        sign: 1: larger values are better; -1: smaller ones.
    """
    completed = [trial for trial in trials if _is_completed(trial)]
    # The number makes the order complete, so every process finds the same best trials. `or 0.0` is for the type
    # checker: a completed trial has a value.
    return sorted(completed, key=lambda trial: (-sign * (trial.value or 0.0), trial.number))


def is_among_best(value: float | None, trials: Iterable[FrozenTrial], sign: int, count: int) -> bool:
    """Whether a final value is one of the best `count`, together with those of completed trials; None: it is not.

    Args:
        value: of a trial that ends.
        trials: of its study.
        sign: as for `best_trials`.
        count: at least 1.
    """
    if value is None:
        return False
    better = sum(_is_completed(trial) and sign * (trial.value or 0.0) > sign * value for trial in trials)
    return better < count


def trials_without_improvement(trials: Iterable[FrozenTrial], sign: int) -> int:
    """How many trials have ended since the best one did; 0 while no trial has completed.

    Args:
        trials: of one study.
        sign: 1: larger values are better; -1: smaller ones.
    """
    best, waited = None, 0
    ended = [trial for trial in trials if trial.state.is_finished()]
    # Trials run in parallel: the order of their ends decides, not the order of their numbers.
    for trial in sorted(ended, key=lambda trial: (trial.datetime_complete, trial.number)):
        value = trial.value if _is_completed(trial) else None
        if value is not None and (best is None or sign * value > sign * best):
            best, waited = value, 0
        # Before the first completed trial there is no best one, so patience has not begun.
        elif best is not None:
            waited += 1
    return waited


def spent_patience(trials: Iterable[FrozenTrial], file: SearchFile) -> str | None:
    """Whether as many trials have ended since the best one as the budget has patience for, in words; None: not yet."""
    patience = file.budget.patience
    if patience is None:
        return None
    # Baselines outside the space do not count: the search has patience for its own trials.
    waited = trials_without_improvement(filter(is_searched, trials), file.objective.sign)
    return f"budget.patience: {waited} trials ended without a better one" if waited >= patience else None


def front_numbers(trials: Iterable[FrozenTrial], file: SearchFile) -> list[int]:
    """The completed trials that are trade-offs of several objectives, the best in the main one first; else none."""
    signs = [one.sign for one in file.objectives]
    if len(signs) < 2:
        return []
    names = [one.metric for one in file.objectives[1:]]
    found = [one for one in best_trials(trials, signs[0]) if set(names) <= set(one.user_attrs.get(AIMS, {}))]
    points = [[one.value or 0.0, *(one.user_attrs[AIMS][name] for name in names)] for one in found]
    return [one.number for one, kept in zip(found, find_front(points, signs), strict=True) if kept]


def _is_completed(trial: FrozenTrial) -> bool:
    return trial_end(trial) == "completed"


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
