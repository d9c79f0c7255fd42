"""Points that do not come from the sampler (the baselines, a grid), and points whose driver died while it drew them."""

import warnings
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.first_trials import active_paths, base_name, is_point
from kmcl_platform.config.reports.trial_marks import FROM_PRIOR, OUTSIDE_SPACE, WARM_START
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.plugins.faults.code_errors import code_of, is_of_plugin
from kmcl_platform.search.sampling.aims_sampler import breaks_by, with_aims
from kmcl_platform.search.sampling.checked_sampler import CheckedSampler
from kmcl_platform.search.sampling.first_points import COLD, WarmStart
from kmcl_platform.search.sampling.prior import PriorSampler, draws_from_prior
from kmcl_platform.search.sampling.search_study import VALUES as VALUES, SearchStudy
from kmcl_platform.search.sampling.space import grid, suggest_values, to_params
from kmcl_platform.seeds import derive_seed

BASELINE = "baseline"
"""Attribute of a trial: the name of the baseline that it is. The base of an older study has True."""

_QUEUED = "fixed_params"
"""Optuna's own attribute of a trial that was queued: its values."""


def read_trial(study: SearchStudy, number: int) -> FrozenTrial:
    """One trial of a study as it is now.

    Raises:
        KeyError: the study has no trial of that number.
    """
    return study._storage.get_trial(_trial_id(study, number))


def _trial_id(study: SearchStudy, number: int) -> int:
    return study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)


def counted_trials(study: SearchStudy) -> list[FrozenTrial]:
    """The trials that count for the budget: every trial whose point is complete."""
    return [trial for trial in study.all_trials() if VALUES in trial.user_attrs]


def is_searched(trial: FrozenTrial) -> bool:
    """Whether a trial is a point of the space; the others are baselines."""
    return OUTSIDE_SPACE not in trial.user_attrs


def baseline_name(trial: FrozenTrial) -> str:
    """The name of the baseline that a trial is; empty: it is none."""
    name = trial.user_attrs.get(BASELINE, "")
    return "base" if name is True else str(name)


def warm_source(trial: FrozenTrial) -> str:
    """The trial of an earlier search from which a trial has its point, for readers; empty: from none."""
    source = trial.user_attrs.get(WARM_START)
    return f"{source['search']} trial {source['trial']}, {source['value']:.4f} there" if source else ""


def open_trial(study: SearchStudy, number: int) -> optuna.Trial:
    """A trial of a study, to report to or to complete."""
    with warnings.catch_warnings():
        # Its constructor is public but marked for use by samplers: there is no other way to reopen a trial.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.trial.Trial(study, _trial_id(study, number))


def draw_values(trial: optuna.Trial, file: SearchFile, sampler: optuna.samplers.BaseSampler) -> None:
    """Complete the point of a trial, with the sampler that draws it unless it was queued."""
    name = trial.user_attrs.get(BASELINE)
    if isinstance(sampler, PriorSampler) and name is None:
        trial.set_user_attr(FROM_PRIOR, True)
    if OUTSIDE_SPACE in trial.user_attrs:
        values = next(one.values for one in file.baselines or () if one.name == name)
    else:
        values = suggest_values(trial, file)
    # The mark that the point is complete: if a trial has no mark, its driver died while it drew the values.
    trial.set_user_attr(VALUES, values)


def next_sampler(study: SearchStudy, file: SearchFile) -> optuna.samplers.BaseSampler:
    """The sampler of the next point.

    Its seed depends on the number of the point, so that a continued search gets the same points as one that was not
    interrupted.

    Raises:
        PluginError: by it, or by its methods: the code of a plug-in raises an error, or gives a value outside a range.
    """
    # Not the number of all trials: a half-drawn point does not count, and gets its seed again.
    # Nor the baselines outside the space: a search with them draws the same points as one without.
    searched = [trial for trial in counted_trials(study) if is_searched(trial)]
    seed = derive_seed(file.sampler.seed, "trial", len(searched))
    if draws_from_prior(file, [trial for trial in searched if not baseline_name(trial)], seed):
        return PriorSampler(file, seed)
    if not is_of_plugin(file.sampler):
        return with_aims(_build(file, seed), file)
    with code_of(file.sampler):
        return with_aims(CheckedSampler(_build(file, seed), file.sampler), file)


def _build(file: SearchFile, seed: int) -> optuna.samplers.BaseSampler:
    if not file.constraints or not file.sampler.learns:
        return file.sampler.build_sampler(seed)
    with warnings.catch_warnings():
        # For each point: before version 5 Optuna calls constraints experimental, and later the argument is old. Without
        # it, samplers of older versions see no constraints.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", message="`constraints_func` has been deprecated", category=FutureWarning)
        return file.sampler.build_constrained(seed, lambda trial: breaks_by(trial, file))


def finish_asking(study: SearchStudy, file: SearchFile) -> None:
    """Complete each point whose driver died while it drew the values: it gets the same values under the same number."""
    for half in study.all_trials():
        if half.state != TrialState.RUNNING or VALUES in half.user_attrs:
            continue
        params: dict[str, Any] = {}  # A trial that was queued has its values already.
        if _QUEUED not in half.system_attrs:
            # A sampler that finds some values already drawn would draw different ones for the rest. So all values are
            # drawn in a copy of the study without this trial.
            copy = SearchStudy.of(
                optuna.create_study(
                    # Hyperband chooses a trial's bracket by the study's name and the trial's number.
                    study_name=study.study_name,
                    direction=study.direction,
                    pruner=study.pruner,
                    sampler=next_sampler(study, file),
                )
            )
            copy.file = study.file
            copy.add_trials([trial for trial in study.all_trials() if trial.number != half.number])
            asked = copy.ask()
            suggest_values(asked, file)
            # Optuna's own parameters: where a range has `zero`, they are not the values.
            params = asked.params
        # A new one: the first has drawn already.
        sampler = next_sampler(study, file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # All values are fixed, here or in the queue, so the random sampler draws nothing. TPE in its place would
            # draw the fixed values of a group again, and older versions of Optuna fail then.
            study.sampler = optuna.samplers.PartialFixedSampler(params, optuna.samplers.RandomSampler())
        # Values that the killed driver had already written are the same; the others are written now.
        draw_values(open_trial(study, half.number), file, sampler)


def enqueue_points(study: SearchStudy, file: SearchFile, warm_start: WarmStart = COLD) -> None:
    """Queue the baselines, the points of earlier searches, and those of a grid; nothing is queued twice.

    Args:
        study: the study.
        file: the search, with its baselines as a list.
        warm_start: the points of earlier searches.
    """
    trials = study.all_trials()
    # An earlier start may have queued some of them, and the base of an older study has no name.
    queued = {name for trial in trials if (name := baseline_name(trial))}
    base = file.base.flat()
    if file.baseline and not counted_trials(study) and base_name(file) not in queued and "base" not in queued:
        # Paths whose condition does not hold have no value in Optuna either.
        values = {path: base[path] for path in active_paths(file, {})}
        study.enqueue_trial(to_params(values, file), user_attrs={BASELINE: base_name(file)})
    for baseline in file.baselines or ():
        if baseline.name in queued:
            continue
        marks: dict[str, Any] = {BASELINE: baseline.name}
        if is_point(file, baseline):
            values = {path: (base | baseline.values)[path] for path in active_paths(file, baseline.values)}
            study.enqueue_trial(to_params(values, file), user_attrs=marks)
        else:
            study.enqueue_trial({}, user_attrs=marks | {OUTSIDE_SPACE: True})
    known_sources = [trial.user_attrs.get(WARM_START) for trial in trials]
    for point in warm_start.points:
        source = {"search": point.search, "trial": point.number, "value": point.value}
        if source not in known_sources:
            study.enqueue_trial(to_params(point.values, file), user_attrs={WARM_START: source})
    if warm_start.lines:
        # Last: after a kill before this line, the next start reads the earlier searches again.
        study.set_user_attr(WARM_START, list(warm_start.lines))
    if file.sampler.lists_points:
        # An earlier start may have queued some of them, and a baseline may be one of them. Optuna's own check compares
        # each point with all trials, which takes minutes for a thousand points.
        taken = [trial.system_attrs.get(_QUEUED, trial.params) for trial in study.all_trials()]
        known = {frozenset(params.items()) for params in taken}
        for values in grid(file.space):
            if frozenset(values.items()) not in known:
                study.enqueue_trial(values)
