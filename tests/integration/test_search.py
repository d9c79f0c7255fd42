"""The main job, as a user runs it: a search in which a worker is killed, then leaderboard, promotion and prediction."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient

from kmcl_platform.data.manifest.parquet import read_manifest
from tests.support.command_line import kmcl
from tests.support.finished_search import NUM_EPOCHS, NUM_TRIALS, FinishedSearch, read_reports, read_runs

pytestmark = [pytest.mark.story, pytest.mark.takes(150)]

PICTURES = ("average_precision", "cooccurrence", "mistakes", "precision_recall")


def read_study(store: Path) -> optuna.Study:
    return optuna.load_study(study_name="small", storage=f"sqlite:///{store}/optuna.db")


def read_trials(store: Path) -> list[optuna.trial.FrozenTrial]:
    return read_study(store).get_trials()


def test_the_search_is_complete_although_a_worker_was_killed(finished: FinishedSearch) -> None:
    trials = read_trials(finished.store)
    assert len(trials) == NUM_TRIALS
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    first = trials[0]
    assert first.state.name == "COMPLETE"
    assert sorted(first.intermediate_values) == list(range(1, NUM_EPOCHS + 1))
    # In the start in which it was killed, the trial went on from its checkpoint in another process.
    assert finished.recovered["resumed_from"] >= 1
    assert finished.recovered["process_id"] != finished.killed
    last = read_reports(finished.store / "checkpoints/small/trial-0000")[-1]
    assert last["resumed_from"] >= 1
    assert last["process_id"] != finished.killed


def test_every_trial_is_in_mlflow_with_its_outcome(finished: FinishedSearch, small_manifest: Path) -> None:
    states = {trial.number: trial.state.name for trial in read_trials(finished.store)}
    runs = read_runs(finished.store, role="trial")
    assert len(runs) == NUM_TRIALS
    assert all(run.info.status == "FINISHED" for run in runs)
    # The run of each trial names the data that it was trained on.
    assert {len(run.inputs.dataset_inputs) for run in runs} == {1}
    assert {run.inputs.dataset_inputs[0].dataset.digest for run in runs} == {
        read_manifest(small_manifest).content_hash[:12]
    }
    outcome = {"completed": "COMPLETE", "pruned": "PRUNED"}
    assert {int(run.data.tags["kmcl.number"]): outcome[run.data.tags["kmcl.outcome"]] for run in runs} == states


def test_every_trial_has_its_pictures_and_the_search_its_progress(finished: FinishedSearch) -> None:
    client = MlflowClient(f"sqlite:///{finished.store}/mlflow.db")
    pictures = {f"figures/{name}.png" for name in PICTURES}
    runs = read_runs(finished.store, role="trial")
    for run in runs:
        found = {one.path for one in client.list_artifacts(run.info.run_id, "figures")}
        completed = run.data.tags["kmcl.outcome"] == "completed"
        assert found in ({"figures/classes.json"}, {"figures/classes.json"} | pictures)
        # The base, and the best trial; of the others, those that were among the best three when they ended.
        if int(run.data.tags["kmcl.number"]) in (0, read_study(finished.store).best_trial.number):
            assert pictures <= found
        assert completed or not pictures & found
        shares = [value for name, value in run.data.metrics.items() if name.startswith("train/gradient_share/")]
        assert sum(shares) == pytest.approx(1)
        assert run.data.metrics["system/images_per_second"] > 0
    parent = client.get_run(runs[0].data.tags["mlflow.parentRunId"])
    ended = [point.step for point in client.get_metric_history(parent.info.run_id, "hours")]
    assert ended[-NUM_TRIALS:] == list(range(1, NUM_TRIALS + 1))
    assert parent.data.metrics["trials/running"] == 0


def test_a_parameter_has_the_same_name_and_value_everywhere(finished: FinishedSearch) -> None:
    trials = read_trials(finished.store)
    num_left = 0
    for run in read_runs(finished.store, role="trial"):
        number = int(run.data.tags["kmcl.number"])
        value = trials[number].params["loss.temperature"]
        assert value == float(run.data.params["loss.temperature"])
        folder = finished.store / "checkpoints" / "small" / f"trial-{number:04d}"
        # Only trials of full length leave a model.
        assert folder.exists() == (run.data.tags["kmcl.outcome"] == "completed")
        for path in folder.glob("epoch-*/trial.json"):
            assert json.loads(path.read_text())["config"]["loss"]["temperature"] == value
            num_left += 1
    assert 1 <= num_left <= 3


def test_another_start_finds_the_finished_search(finished: FinishedSearch) -> None:
    assert finished.again.exit_code == 0, finished.again.output
    assert "already finished" in finished.again.stdout
    assert len(read_runs(finished.store, role="trial")) == NUM_TRIALS


def test_a_copy_of_the_store_does_not_refer_to_the_original(finished: FinishedSearch, finished_copy: Path) -> None:
    runs = {run.info.run_id: run for run in read_runs(finished_copy)}
    assert runs.keys() == {run.info.run_id for run in read_runs(finished.store)}
    assert all(run.info.artifact_uri.startswith(finished_copy.as_uri()) for run in runs.values())
    for database in ("mlflow.db", "optuna.db"):
        with closing(sqlite3.connect(finished_copy / database)) as connection:
            assert not [line for line in connection.iterdump() if str(finished.store) in line]


def test_leaderboard_promote_predict(finished_copy: Path, small_manifest: Path, tmp_path: Path) -> None:
    board = json.loads(kmcl("leaderboard", "small", "--json", store=finished_copy).stdout)
    best = board["rows"][0]
    assert (best["rank"], best["epochs"]) == (1, NUM_EPOCHS)
    promoted = kmcl("promote", "small", store=finished_copy)
    assert promoted.exit_code == 0, promoted.output
    assert "models:/small@champion (version 1)" in promoted.stdout
    assert f"best trial   {best['number']} " in promoted.stdout
    again = kmcl("promote", "small", store=finished_copy)
    assert "already the champion" in again.stdout

    image = tmp_path / "image.png"
    image.write_bytes(read_manifest(small_manifest).encoded_image("test", 0))
    predicted = kmcl("predict", "models:/small@champion", image, "--json", store=finished_copy)
    assert predicted.exit_code == 0, predicted.output
    answer = json.loads(predicted.stdout)
    scores, entropies = answer["scores"], answer["entropies"]
    assert len(scores) == 10
    assert all(0 <= score <= 1 for score in scores.values())
    assert list(entropies) == list(scores)
    assert all(0 <= value <= 1 for value in entropies.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["promote", "nothing"], "nothing"),
        (["leaderboard", "nothing"], "small"),
        (["predict", "models:/small", "x.png"], "x.png"),
        (["search", "none.yaml"], "none.yaml: no such file"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(finished_copy: Path, words: list[str], message: str) -> None:
    answer = kmcl(*words, store=finished_copy)
    assert answer.exit_code == 2
    assert message in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert "Traceback" not in answer.stderr
