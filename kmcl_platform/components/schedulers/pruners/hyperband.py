"""Optuna's Hyperband without the baselines outside the space."""

import optuna
from optuna.trial import FrozenTrial

from kmcl_platform.config.reports.trial_marks import OUTSIDE_SPACE


class HyperbandPruner(optuna.pruners.HyperbandPruner):
    """Optuna's Hyperband, whose brackets have no baselines outside the space.

    A bracket reads the trials from the database, not through `SearchStudy`.
    """

    def _get_bracket_id(self, study: optuna.Study, trial: FrozenTrial) -> int:
        return -1 if OUTSIDE_SPACE in trial.user_attrs else super()._get_bracket_id(study, trial)
