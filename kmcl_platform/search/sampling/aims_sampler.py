"""Several objectives and constraints, for a study that has one objective.

The durable study has the main objective alone: its ranking, its checkpoints and its record are those of every search.
The values of the other objectives and of the constraints are in an attribute of each trial. To draw a point, a study
with all of them is made in memory, and the sampler is asked there.
"""

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.reports.trial_marks import AIMS
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.aims import list_constraints


def breaks_by(trial: FrozenTrial, file: SearchFile) -> list[float]:
    """How far a trial is above the bound of each constraint; 0 or less, or an unknown value: it keeps it."""
    aims = trial.user_attrs.get(AIMS, {})
    return [aims[one.metric] - one.bound if one.metric in aims else 0.0 for one in list_constraints(file)]


def with_aims(sampler: optuna.samplers.BaseSampler, file: SearchFile) -> optuna.samplers.BaseSampler:
    """The sampler for a study of the file. One objective without constraints needs no other one.

    Nor does a sampler that learns nothing: its sequence may be in the durable study.
    """
    return AimsSampler(sampler, file) if file.sampler.learns and (file.objectives or file.constraints) else sampler


class AimsSampler(optuna.samplers.BaseSampler):
    """Asks a sampler about a study with all objectives; it is for one point."""

    def __init__(self, sampler: optuna.samplers.BaseSampler, file: SearchFile) -> None:
        self._sampler = sampler
        self._file = file
        self._study: optuna.Study | None = None
        self._trial: FrozenTrial | None = None

    def reseed_rng(self) -> None:
        self._sampler.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        whole, own = self._open(study, trial)
        return self._sampler.infer_relative_search_space(whole, own)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        whole, own = self._open(study, trial)
        found = self._sampler.sample_relative(whole, own, search_space)
        # A genetic algorithm notes the generation in the trial.
        for name, value in whole._storage.get_trial(own._trial_id).system_attrs.items():
            if name not in trial.system_attrs:
                study._storage.set_trial_system_attr(trial._trial_id, name, value)
        return found

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        whole, own = self._open(study, trial)
        return self._sampler.sample_independent(whole, own, param_name, param_distribution)

    def _open(self, study: optuna.Study, trial: FrozenTrial) -> tuple[optuna.Study, FrozenTrial]:
        """The study with all objectives, and the trial that is drawn in it."""
        if self._study is None or self._trial is None:
            modes = [one.mode for one in self._file.objectives] or [self._file.objective.mode]
            whole = optuna.create_study(directions=modes)
            trials = [one for one in study._get_trials(deepcopy=False) if one.number != trial.number]
            whole.add_trials(self._seen(trials))
            number = whole._storage.create_new_trial(whole._study_id)
            self._study, self._trial = whole, whole._storage.get_trial(number)
            self._sampler.before_trial(whole, self._trial)
        return self._study, self._trial

    def _seen(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The trials of the durable study with the values of all objectives."""
        finite = [one.value for one in trials if one.value is not None and math.isfinite(one.value)]
        sign = self._file.objective.sign
        worst = (min if sign > 0 else max)(finite, default=0.0)
        return [self._with_values(one, worst) for one in trials]

    def _with_values(self, trial: FrozenTrial, worst: float) -> FrozenTrial:
        state, value = trial.state, trial.value
        if any(amount > 0 for amount in breaks_by(trial, self._file)):
            # It was stopped for its cost. The samplers compare such trials by how far they are above the bounds.
            state, value = TrialState.COMPLETE, trial.intermediate_values.get(trial.last_step or 0, worst)
        elif value is not None and not math.isfinite(value):
            # A diverged trial has the worst value there is. In a front, infinity would hide all differences.
            value = worst
        aims = trial.user_attrs.get(AIMS, {})
        others = [aims.get(one.metric) for one in self._file.objectives[1:]]
        values: list[float] | None = None
        if state == TrialState.COMPLETE:
            if value is None or None in others:
                state = TrialState.FAIL  # A trial that diverged in its first epoch has no other values.
            else:
                values = [value, *(other for other in others if other is not None)]
        several = len(self._file.objectives) > 1
        # A sampler writes them when a trial ends, and this study is made after that.
        broken = {_CONSTRAINTS_KEY: breaks_by(trial, self._file)} if self._file.constraints else {}
        return optuna.trial.create_trial(
            state=state,
            values=values,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs,
            system_attrs=trial.system_attrs | broken,
            # Optuna stops no trial of several objectives, and some of its samplers refuse their reports.
            intermediate_values={} if several else trial.intermediate_values,
        )
