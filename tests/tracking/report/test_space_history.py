"""The report's sentences about a space that has changed, and its plots of such a study."""

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from kmcl_platform.tracking.report.searched_study import SearchedStudy
from kmcl_platform.tracking.report.space_history import describe_space_changes


def test_each_change_is_a_sentence() -> None:
    changes = [
        {
            "trials": 12,
            "changed": {"optim.lr.low": ["0.001", "1e-05"], "model.kernels_per_class.kind": [None, '"int"']},
        },
        {"trials": 20, "changed": {"optim.lr.high": ["0.1", "0.2"]}},
    ]
    first, second = describe_space_changes(changes)
    assert first.startswith(
        "After 12 trials the space changed: optim.lr.low from 0.001 to 1e-05, model.kernels_per_class.kind from nothing "
        "to int. All trials stay"
    )
    assert "optim.lr.high from 0.1 to 0.2" in second
    assert describe_space_changes([]) == []


def test_plots_have_one_range_for_each_path_and_the_trials_in_it() -> None:
    study = optuna.create_study()
    for value, low in ((0.5, 0.1), (0.2, 0.1), (0.9, 0.3)):
        distribution = FloatDistribution(low, 1.0)
        study.add_trial(create_trial(params={"lr": value}, distributions={"lr": distribution}, value=value))
    shown = SearchedStudy(study, {}).trials
    assert [trial.params["lr"] for trial in shown] == [0.5, 0.9]
    assert {trial.distributions["lr"] for trial in shown} == {FloatDistribution(0.3, 1.0)}
    assert study.trials[0].distributions["lr"] == FloatDistribution(0.1, 1.0), "the study itself stays as it is"
