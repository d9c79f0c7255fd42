"""The study of a search, as the plots of its parameters show it."""

import copy
from collections.abc import Container, Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.reports.trial_marks import OUTSIDE_SPACE
from kmcl_platform.config.space.distributions import Distribution, LogUniform


class SearchedStudy(optuna.Study):
    """A view of a study, without baselines that are no points of the space.

    All trials whose value is 0 have the same place on the parameter's axis. A sampler draws such a place at random from
    the part of the axis that stands for 0 (`zero: true`).
    """

    def __init__(self, study: optuna.Study, space: Mapping[str, Distribution]) -> None:
        """Read the trials of a study; `space` is that of its search file."""
        super().__init__(study.study_name, study._storage)
        points = [trial for trial in study.get_trials(deepcopy=False) if OUTSIDE_SPACE not in trial.user_attrs]
        # The space of a search may have changed. Only trials of today's ranges can be in one plot.
        latest: dict[str, BaseDistribution] = {}
        for trial in points:
            latest |= trial.distributions
        seen = [_with_distributions(trial, latest) for trial in points]
        self._trials = [_with_one_zero(trial, space) for trial in seen if trial is not None]

    def keep(self, trials: Sequence[FrozenTrial]) -> None:
        """Leave out all other trials."""
        self._trials = list(trials)

    # All readers of Optuna come here: `trials`, `get_trials` and the plots.
    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        found = [trial for trial in self._trials if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found


def describe_zeros(space: Mapping[str, Distribution]) -> str:
    """For readers of a plot: where the zeros of each path are. Empty: no range has `zero`."""
    zeros = {path: d for path, d in space.items() if isinstance(d, LogUniform) and d.zero}
    return "".join(f" A place of {path} below {d.low:g} stands for 0." for path, d in zeros.items())


def _with_distributions(trial: FrozenTrial, latest: Mapping[str, BaseDistribution]) -> FrozenTrial | None:
    """The trial with the latest distributions of its parameters; None: a value lies outside."""
    own = {path: latest[path] for path in trial.params}
    if own == trial.distributions:
        return trial
    if not all(one._contains(one.to_internal_repr(trial.params[path])) for path, one in own.items()):
        return None
    shown = copy.copy(trial)
    shown.distributions = own
    return shown


def _with_one_zero(trial: FrozenTrial, space: Mapping[str, Distribution]) -> FrozenTrial:
    params = dict(trial.params)
    for path, place in trial.params.items():
        distribution = space.get(path)
        # A study may have been begun with another file, whose values are shown as they are.
        if isinstance(distribution, LogUniform) and distribution.zero and distribution.to_value(place) == 0:
            params[path] = distribution.to_place(0.0)
    if params == trial.params:
        return trial
    shown = copy.copy(trial)
    shown.params = params
    return shown
