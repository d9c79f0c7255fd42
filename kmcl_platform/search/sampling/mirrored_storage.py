"""MirroredStorage: the database of a study, of which the only process that writes keeps a copy in memory.

Optuna reads every open trial, with all its epochs, from the database at each list of trials, and a sampler asks for
several lists for one point. With 64 trials at the same time that took a quarter of a second for each point.
"""

import copy
import json
from collections.abc import Container, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState


class MirroredStorage(BaseStorage):
    """Reads trials from memory, and writes through to a database.

    It is right for one writer at a time, which is what the lock of a search ensures. If a write fails, whether it has
    reached the database is not known: open a new one then.
    """

    def __init__(self, database: BaseStorage) -> None:
        """Nothing is read before the first question about a study."""
        self._database = database
        # By study, then by number; and the place of each trial, by its id in the database.
        self._trials: dict[int, list[FrozenTrial]] = {}
        self._places: dict[int, tuple[int, int]] = {}

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """See `BaseStorage`."""
        found = [trial for trial in self._of_study(study_id) if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """See `BaseStorage`."""
        study_id, number = self._place(trial_id)
        trial = self._trials[study_id][number]
        # `optuna.Trial` changes the one that it gets. An ended one can no longer be changed.
        return trial if trial.state.is_finished() else copy.deepcopy(trial)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """See `BaseStorage`."""
        trials = self._of_study(study_id)
        if not 0 <= trial_number < len(trials):
            raise KeyError(f"the study has no trial {trial_number}")
        return trials[trial_number]._trial_id

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See `BaseStorage`."""
        trials = self._of_study(study_id)
        trial_id = self._database.create_new_trial(study_id, template_trial)
        created = self._database.get_trial(trial_id)
        assert created.number == len(trials), "another process writes into the study"
        trials.append(created)
        self._places[trial_id] = (study_id, created.number)
        return trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """See `BaseStorage`."""
        self._database.set_trial_param(trial_id, param_name, param_value_internal, distribution)
        trial = self._renew(trial_id)
        # Of two values of one parameter, the database keeps the first.
        if param_name not in trial.params:
            value = distribution.to_external_repr(param_value_internal)
            trial.params = trial.params | {param_name: value}
            trial.distributions = trial.distributions | {param_name: distribution}

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """See `BaseStorage`."""
        has_changed = self._database.set_trial_state_values(trial_id, state, values)
        # Read again: the database chooses the times.
        study_id, number = self._place(trial_id)
        self._trials[study_id][number] = self._database.get_trial(trial_id)
        return has_changed

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """See `BaseStorage`."""
        self._database.set_trial_intermediate_value(trial_id, step, intermediate_value)
        trial = self._renew(trial_id)
        trial.intermediate_values = trial.intermediate_values | {step: intermediate_value}

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        self._database.set_trial_user_attr(trial_id, key, value)
        trial = self._renew(trial_id)
        trial.user_attrs = trial.user_attrs | {key: _as_stored(value)}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        self._database.set_trial_system_attr(trial_id, key, value)
        trial = self._renew(trial_id)
        trial.system_attrs = trial.system_attrs | {key: _as_stored(value)}

    def _of_study(self, study_id: int) -> list[FrozenTrial]:
        if study_id not in self._trials:
            self._trials[study_id] = self._database.get_all_trials(study_id, deepcopy=False)
            self._places |= {trial._trial_id: (study_id, trial.number) for trial in self._trials[study_id]}
        return self._trials[study_id]

    def _place(self, trial_id: int) -> tuple[int, int]:
        if trial_id not in self._places:
            raise KeyError(f"no trial {trial_id} of a study that was read")
        return self._places[trial_id]

    def _renew(self, trial_id: int) -> FrozenTrial:
        """A new object for a trial that has changed, to be changed too: readers have the old one."""
        study_id, number = self._place(trial_id)
        renewed = copy.copy(self._trials[study_id][number])
        self._trials[study_id][number] = renewed
        return renewed

    # Studies themselves are written rarely, and are not mirrored ------------------------------------------------------

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """See `BaseStorage`."""
        return self._database.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """See `BaseStorage`."""
        self._database.delete_study(study_id)
        self._trials.pop(study_id, None)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        self._database.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        self._database.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """See `BaseStorage`."""
        return self._database.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """See `BaseStorage`."""
        return self._database.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """See `BaseStorage`."""
        return self._database.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """See `BaseStorage`."""
        return self._database.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """See `BaseStorage`."""
        return self._database.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """See `BaseStorage`."""
        return self._database.get_all_studies()

    def remove_session(self) -> None:
        """See `BaseStorage`."""
        self._database.remove_session()


def _as_stored(value: Any) -> Any:
    """A value as the database gives it back, which is a tuple as a list, for example."""
    return json.loads(json.dumps(value))
