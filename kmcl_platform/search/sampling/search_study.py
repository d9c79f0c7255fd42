"""The study of a search, as its samplers and its pruner use it."""

from collections.abc import Container

import optuna
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.reports.trial_marks import OUTSIDE_SPACE
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.search.sampling.space import as_point

VALUES = "values"
"""Attribute of a trial: its values. It is the mark that the point is complete."""


class SearchStudy(optuna.Study):
    """A study whose samplers and pruner do not see baselines outside the space.

    Such a trial has no parameters, and another loss perhaps. A Gaussian process would model no parameter, because it
    uses those that all trials have. The pruner would stop trials that are behind a plain loss in their first epochs.

    If the space has changed, former trials are seen as points of the space of today, as far as they lie in it.
    """

    file: SearchFile | None = None
    """The search as it is today, if its space has changed. None: trials are seen as they are."""

    @classmethod
    def of(cls, study: optuna.Study) -> "SearchStudy":
        """The same study, with the same sampler and pruner."""
        return cls(study.study_name, study._storage, study.sampler, study.pruner)

    # All readers of Optuna come here: `get_trials`, samplers, pruners.
    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        found = super()._get_trials(deepcopy, states, use_cache)
        points = [trial for trial in found if OUTSIDE_SPACE not in trial.user_attrs]
        if self.file is None:
            return points
        seen = [as_point(trial, trial.user_attrs.get(VALUES), self.file) for trial in points]
        return [trial for trial in seen if trial is not None]

    def all_trials(self) -> list[FrozenTrial]:
        """Every trial, by number; they are not copied, so do not change them."""
        return self._storage.get_all_trials(self._study_id, deepcopy=False)
