"""Points that do not come from the sampler (the baseline, a grid), and points whose driver died while it drew them."""

import warnings
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.search_file import SearchFile, active_paths
from kmcl_platform.config.seeds import derive_seed
from kmcl_platform.search.sampling.samplers import build_sampler
from kmcl_platform.search.sampling.space import grid, suggest_values, to_params

BASELINE = "baseline"
"""Attribute of a trial: it is the base itself."""

VALUES = "values"
"""Attribute of a trial: its values. It is the mark that the point is complete."""

_QUEUED = "fixed_params"
"""Optuna's own attribute of a trial that was queued: its values."""


def list_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Every trial of a study, by number; they are not copied, so do not change them."""
    return study.get_trials(deepcopy=False)


def read_trial(study: optuna.Study, number: int) -> FrozenTrial:
    """One trial of a study as it is now.

    Raises:
        KeyError: the study has no trial of that number.
    """
    # Listing the trials would read each unfinished one from the database: a driver does this several times an epoch.
    return study._storage.get_trial(_trial_id(study, number))


def _trial_id(study: optuna.Study, number: int) -> int:
    return study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)


def counted_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count for the budget: every trial whose point is complete."""
    return [trial for trial in list_trials(study) if VALUES in trial.user_attrs]


def open_trial(study: optuna.Study, number: int) -> optuna.Trial:
    """A trial of a study, to report to or to complete."""
    with warnings.catch_warnings():
        # Its constructor is public but marked for use by samplers: there is no other way to reopen a trial.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.trial.Trial(study, _trial_id(study, number))


def next_sampler(study: optuna.Study, file: SearchFile) -> optuna.samplers.BaseSampler:
    """The sampler of the next point.

    Its seed depends on the number of the point, so that a continued search gets the same points as one that was not
    interrupted.
    """
    # Not the number of all trials: a half-drawn point does not count, and gets its seed again.
    number = len(counted_trials(study))
    return build_sampler(file.sampler, derive_seed(file.sampler.seed, "trial", number))


def finish_asking(study: optuna.Study, file: SearchFile) -> None:
    """Complete each point whose driver died while it drew the values: it gets the same values under the same number."""
    for half in list_trials(study):
        if half.state != TrialState.RUNNING or VALUES in half.user_attrs:
            continue
        params: dict[str, Any] = {}  # A trial that was queued has its values already.
        if _QUEUED not in half.system_attrs:
            # A sampler that finds some values already drawn would draw different ones for the rest. So all values are
            # drawn in a copy of the study without this trial.
            copy = optuna.create_study(
                # Hyperband chooses a trial's bracket by the study's name and the trial's number.
                study_name=study.study_name,
                direction=study.direction,
                pruner=study.pruner,
                sampler=next_sampler(study, file),
            )
            copy.add_trials([trial for trial in list_trials(study) if trial.number != half.number])
            asked = copy.ask()
            suggest_values(asked, file)
            # Optuna's own parameters: where a range has `zero`, they are not the values.
            params = asked.params
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = optuna.samplers.PartialFixedSampler(params, next_sampler(study, file))
        # Values that the killed driver had already written are the same; the others are written now.
        trial = open_trial(study, half.number)
        trial.set_user_attr(VALUES, suggest_values(trial, file))


def enqueue_points(study: optuna.Study, file: SearchFile) -> None:
    """Queue the baseline, and the points of a grid; nothing is queued twice."""
    if file.baseline and not counted_trials(study):
        waiting = any(trial.state == TrialState.WAITING for trial in list_trials(study))
        # The baseline is queued first: if any trial waits, an earlier start has queued it.
        if not waiting:
            base = file.base.flat()
            # Paths whose condition does not hold have no value in Optuna either.
            values = {path: base[path] for path in active_paths(file, {})}
            study.enqueue_trial(to_params(values, file), user_attrs={BASELINE: True})
    if file.sampler.kind == "grid":
        for values in grid(file.space):
            # An earlier start may have queued some of them, and the baseline may be one of them.
            study.enqueue_trial(values, skip_if_exists=True)
