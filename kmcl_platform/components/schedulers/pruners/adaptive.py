"""Successive halving whose first rung is found while the search runs."""

import json
from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.components.schedulers.adaptive import Adaptive
from kmcl_platform.components.schedulers.brackets import ladder
from kmcl_platform.components.schedulers.pruners.rungs import VerdictPruner, judge_at, keep_verdict, read_verdict
from kmcl_platform.rank_agreement import RankAgreement, rank_agreement
from kmcl_platform.seeds import derive_seed

RUNG_HISTORY = "rung_history"
"""Attribute of the study: each first rung that was chosen, with the number of trials of full length at that time."""


class AdaptivePruner(VerdictPruner):
    """Stops nobody until the trials of full length show after which epoch their order is that of the end."""

    def __init__(self, config: Adaptive, num_epochs: int) -> None:
        """
        Args:
            config: the choice of the search file.
            num_epochs: epochs of a whole trial.
        """
        self._config = config
        self._num_epochs = num_epochs
        # The number of trials of full length for which the first rung was computed, and the rung.
        self._known: tuple[int, int | None] = (-1, None)

    def decide(self, study: optuna.Study, trial: FrozenTrial, epoch: int, value: float) -> str | None:
        """As `VerdictPruner.decide`. The line says which first rung is chosen, or that it is given up."""
        if epoch >= self._num_epochs or read_verdict(trial, epoch):
            return None
        line = self._look_again(study)
        first = self._known[1]
        rungs = ladder(first, self._config.reduction_factor, self._num_epochs) if first else []
        if epoch in rungs:
            verdict = judge_at(study, trial, epoch, value, rungs, self._config.reduction_factor)
            if verdict.stopped and self._is_spared(study, trial):
                verdict = replace(verdict, stopped=False, spared=True)
            keep_verdict(study, trial, epoch, verdict)
        return line

    def first_rung(self, study: optuna.Study) -> tuple[int, RankAgreement] | None:
        """The earliest epoch whose agreement is high enough, with it; None: none has, or there are too few trials."""
        full = _full_length(study, self._num_epochs)
        if len(full) < self._config.min_trials:
            return None
        ends = [trial.intermediate_values[self._num_epochs] for trial in full]
        for epoch in range(1, self._num_epochs):
            found = rank_agreement([trial.intermediate_values[epoch] for trial in full], ends)
            if found.low >= self._config.agreement:
                return epoch, found
        return None

    def _look_again(self, study: optuna.Study) -> str | None:
        count = len(_full_length(study, self._num_epochs))
        if count == self._known[0]:
            return None
        chosen = self.first_rung(study)
        epoch = chosen[0] if chosen else None
        self._known = (count, epoch)
        history = study.user_attrs.get(RUNG_HISTORY, [])
        before = history[-1]["epoch"] if history else None
        if epoch == before:
            return None
        study.set_user_attr(RUNG_HISTORY, [*history, {"epoch": epoch, "trials": count}])
        if chosen is None:
            return (
                f"early stopping: the first rung, epoch {before}, is given up: among {count} trials of full length no "
                f"epoch before the end has an order that agrees with it (tau at least {self._config.agreement:g})"
            )
        agreement = chosen[1]
        return (
            f"early stopping: the first rung is epoch {epoch}{f', not {before}' if before else ''}: the order "
            f"of {count} trials of full length agrees with their order at the end (tau {agreement.tau:.2f}"
            + (f", at least {agreement.low:.2f})" if agreement.low < agreement.tau else ", the same order)")
        )

    def _is_spared(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        # By the point, so that a continued search spares the same trials, at every rung.
        words = (study.study_name, "spared", trial.number, json.dumps(trial.params, sort_keys=True))
        return derive_seed(*words) / 2**31 < self._config.continued_share


def _full_length(study: optuna.Study, num_epochs: int) -> list[FrozenTrial]:
    return [
        trial
        for trial in study._get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if trial.last_step == num_epochs and len(trial.intermediate_values) == num_epochs
    ]
