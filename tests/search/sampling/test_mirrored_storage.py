"""The mirror of a study says what its database says, after any writes."""

import math
import random
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from kmcl_platform.search.sampling.mirrored_storage import MirroredStorage

DISTRIBUTION = FloatDistribution(0.0, 1.0)
TEMPLATE = optuna.trial.create_trial(state=TrialState.WAITING, user_attrs={"queued": True})


def act(storage: BaseStorage, study_id: int, choice: random.Random) -> None:
    """One write, to a trial that is open if there is one."""
    open_ids = [
        trial._trial_id for trial in storage.get_all_trials(study_id, states=(TrialState.RUNNING, TrialState.WAITING))
    ]
    if not open_ids or choice.random() < 0.2:
        storage.create_new_trial(study_id, template_trial=choice.choice((None, TEMPLATE)))
        return
    trial_id, number = choice.choice(open_ids), choice.choice((0.25, -math.inf, math.inf, 1e-300))
    match choice.randrange(6):
        case 0:
            storage.set_trial_param(trial_id, choice.choice("ab"), choice.random(), DISTRIBUTION)
        case 1 | 2:
            storage.set_trial_intermediate_value(trial_id, choice.randrange(4), number)
        case 3:
            storage.set_trial_user_attr(trial_id, "values", {"a": [1, (2, 3)], "b": number})
        case 4:
            storage.set_trial_system_attr(trial_id, "fixed_params", {"a": choice.random()})
        case _:
            state = choice.choice((TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
            values = [number] if state == TrialState.COMPLETE else None
            storage.set_trial_state_values(trial_id, state, values)


@pytest.mark.parametrize("seed", range(5))
def test_the_mirror_equals_the_database(seed: int, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    choice = random.Random(seed)
    other = RDBStorage(url).create_new_study([StudyDirection.MAXIMIZE], "other")
    study_id = RDBStorage(url).create_new_study([StudyDirection.MAXIMIZE], "s")
    RDBStorage(url).create_new_trial(study_id)
    mirror = MirroredStorage(RDBStorage(url))
    for _ in range(60):
        act(mirror, study_id if choice.random() < 0.8 else other, choice)
    for one in (study_id, other):
        there = RDBStorage(url).get_all_trials(one)
        assert mirror.get_all_trials(one) == there
        # Samplers may go by the order of the parameters.
        assert [list(trial.params) for trial in mirror.get_all_trials(one)] == [list(trial.params) for trial in there]
        assert [mirror.get_trial(trial._trial_id) for trial in there] == there
        assert [mirror.get_trial_id_from_study_id_trial_number(one, trial.number) for trial in there] == [
            trial._trial_id for trial in there
        ]


def test_what_a_reader_changes_is_not_in_the_mirror(tmp_path: Path) -> None:
    mirror = MirroredStorage(RDBStorage(f"sqlite:///{tmp_path}/optuna.db"))
    study_id = mirror.create_new_study([StudyDirection.MAXIMIZE], "s")
    trial_id = mirror.create_new_trial(study_id)
    seen = mirror.get_all_trials(study_id, deepcopy=False)[0]
    mirror.get_trial(trial_id).user_attrs["mine"] = 1
    mirror.get_all_trials(study_id)[0].user_attrs["mine"] = 1
    mirror.set_trial_intermediate_value(trial_id, 1, 0.5)
    assert (seen.user_attrs, seen.intermediate_values) == ({}, {})
    assert mirror.get_trial(trial_id).user_attrs == {}
    assert mirror.get_trial(trial_id).intermediate_values == {1: 0.5}


def test_a_second_writer_is_noticed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    mirror = MirroredStorage(RDBStorage(url))
    study_id = mirror.create_new_study([StudyDirection.MAXIMIZE], "s")
    mirror.create_new_trial(study_id)
    RDBStorage(url).create_new_trial(study_id)
    with pytest.raises(AssertionError, match="another process"):
        mirror.create_new_trial(study_id)
    with pytest.raises(KeyError):
        mirror.get_trial_id_from_study_id_trial_number(study_id, 1)
    with pytest.raises(KeyError):
        mirror.get_trial(99)
