"""Did stopping pay? The sentences of the report, from the trials of a study."""

import optuna

from kmcl_platform.config.reports.trial_marks import AIMS, OUTSIDE_SPACE, VERDICTS
from kmcl_platform.tracking.report.stopping import describe_stopping, find_rungs

NUM_EPOCHS = 4


def trials(curves: list[list[float]], *, rungs: tuple[int, ...] = (1, 2)) -> list[optuna.trial.FrozenTrial]:
    """Trials with these values; one with fewer than `NUM_EPOCHS` was stopped."""
    study = optuna.create_study()
    for curve in curves:
        trial = study.ask()
        for epoch, value in enumerate(curve, start=1):
            trial.report(value, epoch)
        trial.set_user_attr(VERDICTS, {str(epoch): {} for epoch in rungs if epoch <= len(curve)})
        whole = len(curve) == NUM_EPOCHS
        study.tell(trial, curve[-1] if whole else None, state=None if whole else optuna.trial.TrialState.PRUNED)
    return study.trials


WHOLE = [[0.9 - place / 10, place / 10, place / 10, place / 10] for place in range(8)]
"""After epoch 1 in the opposite order, from epoch 2 on in that of the end."""


def test_sentences_say_what_was_saved_and_which_rung_is_doubtful() -> None:
    lines = describe_stopping(trials([*WHOLE, [0.5], [0.5, 0.1]]), NUM_EPOCHS)
    assert lines[0] == "Early stopping ended 2 trials and saved 5 epochs of 40 (12%)."
    assert "After epoch 1, the order of the 8 trials of full length agreed" in lines[1] and "τ = -1.00" in lines[1]
    assert "After epoch 2" in lines[2] and "τ = 1.00" in lines[2]
    assert lines[3].startswith("The order after epoch 1 is not shown to say anything about the end")


def test_few_trials_show_nothing() -> None:
    lines = describe_stopping(trials([*WHOLE[:3], [0.5]]), NUM_EPOCHS)
    assert len(lines) == 2
    assert lines[1].startswith("3 trials of full length cannot show whether the right trials were stopped")


def test_a_search_without_rungs_has_no_section() -> None:
    assert describe_stopping(trials(WHOLE, rungs=()), NUM_EPOCHS) == []
    assert describe_stopping([], NUM_EPOCHS) == []


def test_trials_that_an_older_version_stopped_show_their_rung() -> None:
    assert find_rungs(trials([*WHOLE, [0.5, 0.1]], rungs=()), NUM_EPOCHS) == [2]


def test_baselines_outside_the_space_do_not_count() -> None:
    found = trials(WHOLE)
    for trial in found[:4]:
        trial.user_attrs[OUTSIDE_SPACE] = True
    assert "4 trials of full length" in describe_stopping(found, NUM_EPOCHS)[1]


def test_an_order_that_few_trials_share_by_chance_is_called_so() -> None:
    few, many = (describe_stopping(trials(WHOLE[:count], rungs=(2,)), NUM_EPOCHS)[1] for count in (5, 8))
    assert few.endswith("τ = 1.00 (the same order, which so few trials may have by chance).")
    assert many.endswith("τ = 1.00 (the same order).")
    found = trials(WHOLE)
    found[0].user_attrs[OUTSIDE_SPACE] = True
    assert describe_stopping(found, NUM_EPOCHS)[0].endswith("; baselines outside the space (1) are not counted here.")


def test_a_trial_that_broke_a_constraint_was_not_stopped_early() -> None:
    several = trials([*WHOLE, [0.5], [], []])
    several[-1].set_user_attr(AIMS, {"params_millions": 40.0})
    several[-2].set_user_attr(AIMS, {"params_millions": 50.0})
    lines = describe_stopping(several, NUM_EPOCHS)
    assert lines[0] == "Early stopping ended 1 trial and saved 3 epochs of 36 (8%)."
    assert lines[1] == "2 further trials broke a constraint and trained no epoch."
