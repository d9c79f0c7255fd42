"""Successive halving: the verdict on a trial at a rung, and where verdicts are kept."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from kmcl_platform.config.reports.trial_marks import VERDICTS

_SHARES = {2: "half", 3: "third", 4: "quarter", 5: "fifth"}


@dataclass(frozen=True)
class RungVerdict:
    """The verdict on a trial at one rung.

    Attributes:
        rung: which of them, from 1.
        rungs: how many there are.
        value: of the trial.
        place: of the trial among those that have reached the rung, from 1; equals share a place.
        of: number of these trials.
        share: what part of them goes on, in words.
        bound: the worst value that goes on.
        stopped: whether the trial ends here.
        spared: whether it should end here, and trains on by chance, so that a wrong rung is noticed.
    """

    rung: int
    rungs: int
    value: float
    place: int
    of: int
    share: str
    bound: float
    stopped: bool
    spared: bool = False

    def __str__(self) -> str:
        return (
            f"rung {self.rung} of {self.rungs}: {self.value:.4f}, {_ordinal(self.place)} of {self.of}, "
            f"best {self.share} begins at {self.bound:.4f}"
        )


def judge_rung(own: float, others: Sequence[float], *, factor: int, sign: int, rung: int, rungs: int) -> RungVerdict:
    """Asynchronous successive halving (Li et al., 2020): the best 1/factor of those that are here, at least one, go on.

    Args:
        own: the value of the trial.
        others: those of the trials that reached the rung before it.
        factor: reduction factor, at least 2.
        sign: 1: larger values are better; -1: smaller ones are.
        rung: which rung, from 1.
        rungs: how many there are.
    """
    values = sorted([own, *others], key=lambda value: -sign * value)
    bound = values[max(1, len(values) // factor) - 1]
    return RungVerdict(
        rung=rung,
        rungs=rungs,
        value=own,
        place=1 + sum(sign * value > sign * own for value in values),
        of=len(values),
        share=_SHARES.get(factor, f"1/{factor}"),
        bound=bound,
        stopped=sign * own < sign * bound,
    )


def read_verdict(trial: FrozenTrial, epoch: int | None) -> RungVerdict | None:
    """The verdict on a trial after an epoch; None: there is none."""
    stored: dict[str, Any] | None = trial.user_attrs.get(VERDICTS, {}).get(str(epoch))
    return RungVerdict(**stored) if stored else None


class VerdictPruner(optuna.pruners.BasePruner):
    """A pruner that decides before a trial reports, and keeps its verdict.

    Optuna's own pruners enter a trial into its rung, and only then tell the verdict. A driver that dies in between asks
    again, when more trials may have reached the rung, and may get another answer. Here the verdict is in the study
    before the value that it is about, and stays as it is.
    """

    @abstractmethod
    def decide(self, study: optuna.Study, trial: FrozenTrial, epoch: int, value: float) -> str | None:
        """Store the verdict on a trial that is about to report; nothing at other epochs, or if there is one already.

        Args:
            study: with the values of the trials that reached the rung before.
            trial: as it is in the study.
            epoch: the epoch that it reports.
            value: after that epoch.

        Returns:
            A line for the user, if the rungs have changed.
        """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a trial is stopped after the last epoch that it reported."""
        verdict = read_verdict(trial, trial.last_step)
        return verdict is not None and verdict.stopped


def decide_before_report(study: optuna.Study, trial: FrozenTrial, epoch: int, value: float) -> str | None:
    """Store the verdict on a trial that is about to report a value, if its pruner keeps verdicts.

    Returns:
        A line for the user, if the pruner's rungs have changed.
    """
    return study.pruner.decide(study, trial, epoch, value) if isinstance(study.pruner, VerdictPruner) else None


class SuccessiveHalvingPruner(VerdictPruner):
    """The rule of Optuna's `SuccessiveHalvingPruner`, at fixed rungs."""

    def __init__(self, rungs: Sequence[int], factor: int) -> None:
        """
        Args:
            rungs: the epochs after which trials are compared, in order.
            factor: reduction factor, at least 2.
        """
        self.rungs = list(rungs)
        self.factor = factor

    def decide(self, study: optuna.Study, trial: FrozenTrial, epoch: int, value: float) -> str | None:
        """As `VerdictPruner.decide`; the rungs never change."""
        if epoch in self.rungs and not read_verdict(trial, epoch):
            keep_verdict(study, trial, epoch, judge_at(study, trial, epoch, value, self.rungs, self.factor))
        return None

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a trial is stopped after the last epoch that it reported."""
        epoch = trial.last_step
        if epoch not in self.rungs:
            return False
        verdict = read_verdict(trial, epoch)
        if verdict is None:
            # An older version reported the epoch, and did not keep verdicts.
            self.decide(study, trial, epoch, trial.intermediate_values[epoch])
            verdict = read_verdict(study._storage.get_trial(trial._trial_id), epoch)
        return verdict is not None and verdict.stopped


def judge_at(
    study: optuna.Study, trial: FrozenTrial, epoch: int, value: float, rungs: Sequence[int], factor: int
) -> RungVerdict:
    """The verdict on a trial among those that the study knows at an epoch, which is one of `rungs`."""
    # Not through a copy of all trials, which takes longer than everything else here.
    others = [
        one.intermediate_values[epoch]
        for one in study._get_trials(deepcopy=False)
        if one.number != trial.number and epoch in one.intermediate_values
    ]
    return judge_rung(
        value, others, factor=factor, sign=sign_of(study), rung=list(rungs).index(epoch) + 1, rungs=len(rungs)
    )


def keep_verdict(study: optuna.Study, trial: FrozenTrial, epoch: int, verdict: RungVerdict) -> None:
    """Store a verdict in the trial."""
    verdicts = trial.user_attrs.get(VERDICTS, {}) | {str(epoch): asdict(verdict)}
    study._storage.set_trial_user_attr(trial._trial_id, VERDICTS, verdicts)


def sign_of(study: optuna.Study) -> int:
    """1 if larger values are better, -1 if smaller ones are."""
    return 1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1


def _ordinal(place: int) -> str:
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"
