"""Which points came from the prior, and whether they did better than the others."""

import optuna

from kmcl_platform.config.reports.trial_marks import FROM_PRIOR, OUTSIDE_SPACE
from kmcl_platform.tracking.report.prior_points import describe_prior


def trials(values: dict[float, bool]) -> list[optuna.trial.FrozenTrial]:
    """Completed trials, by their value: whether each came from the prior."""
    study = optuna.create_study(direction="maximize")
    for value, from_prior in values.items():
        trial = study.ask()
        if from_prior:
            trial.set_user_attr(FROM_PRIOR, True)
        study.tell(trial, value)
    return study.trials


def test_the_sentence_names_the_trials_and_how_often_they_are_better() -> None:
    found = trials({0.9: True, 0.4: False, 0.3: True, 0.2: False})
    assert describe_prior(found, 1) == [
        "2 points of 4 came from the prior (trials 0, 2). Of those of full length, they are better than the others in "
        "75% of all pairs."
    ]
    assert "in 25% of all pairs" in describe_prior(found, -1)[0]
    found[1].user_attrs[OUTSIDE_SPACE] = True
    assert (
        describe_prior(found, 1)[0].startswith("2 points of 3 came") and "in 100% of all" in describe_prior(found, 1)[0]
    )


def test_without_others_nothing_is_compared_and_without_a_prior_nothing_is_said() -> None:
    assert describe_prior(trials({0.9: True}), 1) == ["1 point of 1 came from the prior (trials 0)."]
    assert describe_prior(trials({0.9: False}), 1) == []
