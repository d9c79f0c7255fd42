"""When and how trials of a study end, and which of them are the best."""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.reports.trial_marks import AIMS
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.aims import is_ahead
from kmcl_platform.search.sampling.asking import VALUES, baseline_name, is_searched

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


class EndedTrials:
    """The trials of a study that have ended, in the orders in which a search asks for them.

    The driver asks at the end of each trial. So this is kept up to date, and not read again from thousands of trials. A
    trial that has ended never changes.
    """

    def __init__(self, file: SearchFile) -> None:
        """No trials yet; see `update`."""
        self.trials: list[FrozenTrial] = []
        """Those whose points are complete, in the order in which they were found."""
        self.ends: dict[int, TrialEnd] = {}
        """How each of them ended, by its number."""
        self.baselines: list[FrozenTrial] = []
        """Those of them that are baselines, in the same order."""
        self.num_counted = 0
        """The number of trials that count for the budget: these, and those that run or wait with a complete point."""
        self._signs = [one.sign for one in file.objectives] or [file.objective.sign]
        self._other_aims = [one.metric for one in file.objectives[1:]]
        # For each completed trial -sign * value and its number, in order: the best first, of equals the earlier.
        self._ranks: list[tuple[float, int]] = []
        # The trade-offs: their ranks, and their values of all objectives.
        self._front: list[tuple[tuple[float, int], list[float]]] = []
        self._seen = 0
        self._open: list[int] = []

    def update(self, trials: Sequence[FrozenTrial]) -> "EndedTrials":
        """Take in the trials that have ended since the last call.

        Args:
            trials: all of the study, by number.
        """
        still_open: list[int] = []
        self.num_counted = len(self.trials)
        for number in (*self._open, *range(self._seen, len(trials))):
            trial = trials[number]
            has_values = VALUES in trial.user_attrs
            self.num_counted += has_values
            if not trial.state.is_finished():
                still_open.append(number)
            elif has_values:
                self._add(trial)
        self._open, self._seen = still_open, len(trials)
        return self

    def best(self, count: int | None = None) -> list[int]:
        """The numbers of the best completed trials, at most `count`, the best first; of equals the earlier."""
        return [number for _, number in self._ranks[:count]]

    def is_among_best(self, value: float | None, count: int) -> bool:
        """Whether fewer than `count` completed trials are better than a final value; None: it is not among the best."""
        return value is not None and bisect_left(self._ranks, (-self._signs[0] * value, -1)) < count

    def front(self) -> list[int]:
        """The completed trials that are trade-offs of several objectives, the best in the main one first; else none."""
        return [number for (_, number), _ in self._front]

    def _add(self, trial: FrozenTrial) -> None:
        end = trial_end(trial)
        assert end is not None, "a trial that has ended"
        self.trials.append(trial)
        self.ends[trial.number] = end
        if baseline_name(trial):
            self.baselines.append(trial)
        if end != "completed":
            return
        value = trial.value or 0.0  # For the type checker: a completed trial has a value.
        rank = (-self._signs[0] * value, trial.number)
        insort(self._ranks, rank)
        aims = trial.user_attrs.get(AIMS, {})
        if self._other_aims and set(self._other_aims) <= set(aims):
            own = [value, *(aims[name] for name in self._other_aims)]
            # A trial behind one of the front is never a trade-off again, so the others need not be compared.
            if not any(is_ahead(other, own, self._signs) for _, other in self._front):
                self._front = [one for one in self._front if not is_ahead(own, one[1], self._signs)]
                insort(self._front, (rank, own))


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


def _is_completed(trial: FrozenTrial) -> bool:
    return trial_end(trial) == "completed"


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
