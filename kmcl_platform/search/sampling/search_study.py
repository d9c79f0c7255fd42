"""The study of a search, as its samplers and its pruner use it."""

from collections.abc import Container

import optuna
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.reports.trial_marks import OUTSIDE_SPACE


class SearchStudy(optuna.Study):
    """A study whose samplers and pruner do not see baselines outside the space.

    Such a trial has no parameters, and another loss perhaps. A Gaussian process would model no parameter, because it
    uses those that all trials have. The pruner would stop trials that are behind a plain loss in their first epochs.
    """

    @classmethod
    def of(cls, study: optuna.Study) -> "SearchStudy":
        """The same study, with the same sampler and pruner."""
        return cls(study.study_name, study._storage, study.sampler, study.pruner)

    # All readers of Optuna come here: `get_trials`, samplers, pruners.
    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        found = super()._get_trials(deepcopy, states, use_cache)
        return [trial for trial in found if OUTSIDE_SPACE not in trial.user_attrs]

    def all_trials(self) -> list[FrozenTrial]:
        """Every trial, by number; they are not copied, so do not change them."""
        return self._storage.get_all_trials(self._study_id, deepcopy=False)
