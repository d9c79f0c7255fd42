"""The main job, as a user runs it: search (with a worker killed in it), look, promote, predict."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from kmcl_platform.data.manifest.parquet import read_manifest

pytestmark = pytest.mark.slow

NUM_TRIALS = 4
NUM_EPOCHS = 4
PICTURES = ("average_precision", "cooccurrence", "mistakes", "precision_recall")


def kmcl(*words: str | Path, store: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kmcl_platform.cli", *map(str, words), "--store", str(store)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


class Finished:
    """One search that was run to its end, and what it left."""

    def __init__(self, store: Path, file: Path, output: str, killed: int) -> None:
        self.store = store
        self.file = file
        self.output = output
        self.killed = killed


@pytest.fixture(scope="module")
def finished(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    folder = tmp_path_factory.mktemp("search")
    store = folder / "store"
    file = small_search(folder, small_manifest, epochs=NUM_EPOCHS, trials=NUM_TRIALS)
    command = [sys.executable, "-m", "kmcl_platform.cli", "search", str(file), "--store", str(store)]
    log = folder / "output.txt"
    with log.open("w") as output:
        search = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            killed = kill_worker_of_trial(store / "checkpoints" / "small" / "trial-0000", search)
            code = search.wait(timeout=500)
        finally:
            search.kill()
    assert code == 0, log.read_text()
    return Finished(store, file, log.read_text(), killed)


def kill_worker_of_trial(folder: Path, search: subprocess.Popen[bytes]) -> int:
    """SIGKILL the first worker of a trial as soon as its first checkpoint stands."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and search.poll() is None:
        for state in folder.glob("epoch-*/trial.json"):
            process_id = int(json.loads(state.read_text())["reports"][-1]["process_id"])
            os.kill(process_id, signal.SIGKILL)
            return process_id
        time.sleep(0.02)
    raise AssertionError("the search wrote no checkpoint")


def child_runs(store: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], filter_string="tags.`kmcl.role` = 'trial'"))


def test_the_search_ends_whole_though_a_worker_was_killed(finished: Finished) -> None:
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{finished.store}/optuna.db")
    trials = study.get_trials()
    assert len(trials) == NUM_TRIALS
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    first = trials[0]
    assert first.state.name == "COMPLETE"
    assert sorted(first.intermediate_values) == list(range(1, NUM_EPOCHS + 1))
    state = json.loads(next((finished.store / "checkpoints/small/trial-0000").glob("epoch-*/trial.json")).read_text())
    last = state["reports"][-1]
    assert last["resumed_from"] >= 1
    assert last["process_id"] != finished.killed


def test_every_trial_stands_in_mlflow_as_it_ended(finished: Finished, small_manifest: Path) -> None:
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{finished.store}/optuna.db")
    verdicts = {trial.number: trial.state.name for trial in study.get_trials()}
    runs = child_runs(finished.store)
    assert len(runs) == NUM_TRIALS
    assert all(run.info.status == "FINISHED" for run in runs)
    # Each trial says which data it saw.
    assert {len(run.inputs.dataset_inputs) for run in runs} == {1}
    assert {run.inputs.dataset_inputs[0].dataset.digest for run in runs} == {
        read_manifest(small_manifest).content_hash[:12]
    }
    outcome = {"completed": "COMPLETE", "pruned": "PRUNED"}
    assert {int(run.data.tags["kmcl.number"]): outcome[run.data.tags["kmcl.outcome"]] for run in runs} == verdicts


def test_every_trial_shows_what_it_did_and_the_search_how_far_it_has_come(finished: Finished) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished.store}/mlflow.db")
    pictures = {f"evidence/{name}.png" for name in PICTURES}
    runs = child_runs(finished.store)
    for run in runs:
        found = {one.path for one in client.list_artifacts(run.info.run_id, "evidence")}
        completed = run.data.tags["kmcl.outcome"] == "completed"
        assert found == {"evidence/classes.json"} | (pictures if completed else set())
        shares = [value for name, value in run.data.metrics.items() if name.startswith("train/gradient_share/")]
        assert sum(shares) == pytest.approx(1)
        assert run.data.metrics["system/images_per_second"] > 0
    parent = client.get_run(runs[0].data.tags["mlflow.parentRunId"])
    ended = [point.step for point in client.get_metric_history(parent.info.run_id, "hours")]
    assert ended[-NUM_TRIALS:] == list(range(1, NUM_TRIALS + 1))
    assert parent.data.metrics["trials/running"] == 0


def test_one_parameter_keeps_its_name_and_value_all_the_way(finished: Finished) -> None:
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{finished.store}/optuna.db")
    num_kept = 0
    for run in child_runs(finished.store):
        number = int(run.data.tags["kmcl.number"])
        asked = study.get_trials()[number].params["loss.temperature"]
        assert asked == float(run.data.params["loss.temperature"])
        folder = finished.store / "checkpoints" / "small" / f"trial-{number:04d}"
        # Only trials of full length leave a model.
        assert folder.exists() == (run.data.tags["kmcl.outcome"] == "completed")
        for path in folder.glob("epoch-*/trial.json"):
            assert json.loads(path.read_text())["config"]["loss"]["temperature"] == asked
            num_kept += 1
    assert 1 <= num_kept <= 3


def test_a_second_start_finds_the_finished_search_and_shows_it(finished: Finished) -> None:
    again = kmcl("search", finished.file, store=finished.store)
    assert again.returncode == 0, again.stderr
    assert "already finished" in again.stdout
    assert len(child_runs(finished.store)) == NUM_TRIALS


def test_leaderboard_promote_predict(finished: Finished, small_manifest: Path, tmp_path: Path) -> None:
    board = json.loads(kmcl("leaderboard", "small", "--json", store=finished.store).stdout)
    best = board["rows"][0]
    assert (best["rank"], best["epochs"]) == (1, NUM_EPOCHS)
    promoted = kmcl("promote", "small", store=finished.store)
    assert promoted.returncode == 0, promoted.stderr
    assert "models:/small@champion (version 1)" in promoted.stdout
    assert f"best trial   {best['number']} " in promoted.stdout
    again = kmcl("promote", "small", store=finished.store)
    assert "already the champion" in again.stdout

    from kmcl_platform.data.manifest.parquet import read_manifest

    image = tmp_path / "image.png"
    image.write_bytes(read_manifest(small_manifest).encoded_image("test", 0))
    predicted = kmcl("predict", "models:/small@champion", image, "--json", store=finished.store)
    assert predicted.returncode == 0, predicted.stderr
    answer = json.loads(predicted.stdout)
    scores, uncertainties = answer["scores"], answer["uncertainties"]
    assert len(scores) == 10
    assert all(0 <= score <= 1 for score in scores.values())
    assert list(uncertainties) == list(scores)
    assert all(0 <= value < 1 for value in uncertainties.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["promote", "nothing"], "nothing"),
        (["leaderboard", "nothing"], "small"),
        (["predict", "models:/small", "x.png"], "x.png"),
        (["search", "none.yaml"], "none.yaml: no such file"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(finished: Finished, words: list[str], message: str) -> None:
    done = kmcl(*words, store=finished.store)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
