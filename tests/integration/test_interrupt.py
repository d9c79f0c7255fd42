"""Ctrl-C in the middle of a search: nothing is lost, nothing is left running, and the same command continues it."""

import optuna
import pytest

from tests.support.finished_search import NUM_EPOCHS, NUM_TRIALS, FinishedSearch, read_runs

pytestmark = [pytest.mark.story, pytest.mark.takes(5)]


def test_it_ends_in_order_and_names_the_command_that_continues(finished: FinishedSearch) -> None:
    assert finished.interrupted.exit_code == 130, finished.interrupted.output
    assert "nothing is lost\nTo go on: kmcl search" in finished.interrupted.output
    assert "Traceback" not in finished.interrupted.output


def test_nothing_is_left_running(finished: FinishedSearch) -> None:
    assert finished.survivors == []
    assert finished.runs_after_stop
    assert "RUNNING" not in finished.runs_after_stop.values()


def test_the_same_command_continues_in_the_same_runs(finished: FinishedSearch) -> None:
    assert finished.continued.exit_code == 0, finished.continued.output
    runs = {run.info.run_id: run for run in read_runs(finished.store)}
    assert finished.runs_after_stop.keys() <= runs.keys()
    assert len(runs) == NUM_TRIALS + 1
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{finished.store}/optuna.db")
    assert study.get_trials()[0].state.name == "COMPLETE"
    assert len(study.get_trials()) == NUM_TRIALS
    assert sorted(study.get_trials()[0].intermediate_values) == list(range(1, NUM_EPOCHS + 1))
