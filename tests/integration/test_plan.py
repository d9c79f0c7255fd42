"""`kmcl plan`, as a user runs it: what it says, what it leaves, and how its forecast is scored after the search."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.search.study.lock import SearchLock

pytestmark = pytest.mark.slow

NUM_EPOCHS = 2
NUM_TRIALS = 2


def kmcl(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kmcl_platform.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


@dataclass
class Planned:
    """A search that was planned, run to its end, and started and planned once more."""

    store: Path
    document: dict[str, Any]
    left_by_plan: list[str]
    forecast: bytes
    search: subprocess.CompletedProcess[str]
    again: subprocess.CompletedProcess[str]
    late: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def planned(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path_factory: pytest.TempPathFactory
) -> Planned:
    folder = tmp_path_factory.mktemp("plan")
    store = folder / "store"
    file = small_search(folder, small_manifest, epochs=NUM_EPOCHS, trials=NUM_TRIALS)
    plan = kmcl("plan", file, "--json", "--steps", "4", "--store", store)
    assert plan.returncode == 0, plan.stderr
    left = sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file())
    forecast = (store / "plans" / "small.json").read_bytes()
    search = kmcl("search", file, "--store", store)
    assert search.returncode == 0, search.stdout + search.stderr
    # As after a driver that was killed between its last trial and the score.
    (store / "plans" / "small.scored.json").unlink()
    again = kmcl("search", file, "--store", store)
    late = kmcl("plan", file, "--steps", "1", "--store", store)
    (document,) = json.loads(plan.stdout)
    return Planned(store, document, left, forecast, search, again, late)


def parent_run(planned: Planned) -> Any:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{planned.store}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], filter_string="tags.`kmcl.role` = 'search'")
    return client, run


def test_it_measures_each_corner(planned: Planned) -> None:
    corners = planned.document["corners"]
    assert [corner["level"] for corner in corners] == ["high", "middle", "low"]
    assert corners[0]["values"] == {"model.kernels_per_class": 3, "loss.temperature": 1}
    for corner in corners:
        assert corner["failure"] == ""
        measured = corner["measured"]
        assert measured["steps_per_epoch"] == 192 // 32
        assert measured["first_steps"] == 3 + 4
        assert 0 < measured["seconds_per_step"] < 10
        assert 1e8 < measured["peak_bytes"] < 1e10
        assert 0 <= measured["underflow_share"] <= 1


def test_it_forecasts_the_whole_search(planned: Planned) -> None:
    document = planned.document
    forecast = document["forecast"]
    assert (document["search"], document["concurrency"], document["refusal"]) == ("small", 1, "")
    assert (forecast["epochs"]["low"], forecast["epochs"]["high"]) == (NUM_EPOCHS + 1, NUM_EPOCHS * NUM_TRIALS)
    assert 0 < forecast["hours"]["low"] <= forecast["hours"]["expected"] <= forecast["hours"]["high"] < 0.5
    assert forecast["gpu_hours"]["high"] == 0
    assert forecast["ends_by"] == "budget.trials"


def test_it_leaves_the_forecast_and_nothing_else(planned: Planned) -> None:
    assert planned.left_by_plan == ["locks/small.lock", "plans/small.json"]


def test_the_search_scores_it(planned: Planned) -> None:
    assert planned.search.stdout.count("forecast of small: took ") == 1
    client, run = parent_run(planned)
    metrics = run.data.metrics
    assert metrics["forecast/hours"] == pytest.approx(planned.document["forecast"]["hours"]["expected"])
    assert 0.2 < metrics["forecast/hours_ratio"] < 5
    assert 0.2 < metrics["forecast/epoch_seconds_ratio"] < 5
    assert metrics["forecast/disk_bytes_within_range"] == 1
    assert metrics["checkpoints/bytes"] == metrics["forecast/disk_bytes"] * metrics["forecast/disk_bytes_ratio"]
    assert metrics["forecast/epochs_within_range"] == 1
    assert "forecast/gpu_hours_ratio" not in metrics
    document = json.loads(Path(client.download_artifacts(run.info.run_id, "forecast.json")).read_text())
    assert document["forecast"] == json.loads(planned.forecast)
    import optuna

    spent = optuna.load_study(study_name="small", storage=f"sqlite:///{planned.store}/optuna.db").user_attrs["spent"]
    assert document["happened"]["hours"] == pytest.approx(spent["seconds"] / 3600)
    assert document["happened"]["epochs"] in (NUM_EPOCHS + 1, NUM_EPOCHS * NUM_TRIALS)


def test_a_score_that_is_due_is_made_up_for_and_changes_no_number(planned: Planned) -> None:
    assert "already finished" in planned.again.stdout
    (line,) = [line for line in planned.search.stdout.splitlines() if line.startswith("forecast of small")]
    assert line in planned.again.stdout.splitlines()
    client, run = parent_run(planned)
    assert len(client.get_metric_history(run.info.run_id, "forecast/hours_ratio")) == 1
    assert run.info.status == "FINISHED"


def test_the_forecast_of_a_search_that_has_begun_stays_as_it_was(planned: Planned) -> None:
    assert planned.late.returncode == 0, planned.late.stderr
    assert "the search has begun" in " ".join(planned.late.stdout.split())
    assert (planned.store / "plans" / "small.json").read_bytes() == planned.forecast


def refused(file: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    done = kmcl("plan", file, "--steps", "2", "--store", folder / "store")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "store" / "plans" / "small.json").exists()
    return done


@pytest.mark.long
@pytest.mark.parametrize(
    ("old", "new", "bound", "reason"),
    [
        (
            "loss.temperature: {kind: loguniform, low: 0.05, high: 1}",
            "loss.reconstruction_weight: {kind: loguniform, low: 0.1, high: 1.0e+39}",
            "space.loss.reconstruction_weight: high 1e+39",
            "the loss is not finite in 5 of its first 5 steps; valid: a lower high",
        ),
        (
            "loss.temperature: {kind: loguniform, low: 0.05, high: 1}",
            "model.reduced_dim: {kind: int, low: 16, high: 65536, log: true}",
            "space.model.reduced_dim: high 65536",
            "out of memory",
        ),
        (
            "loss.temperature: {kind: loguniform, low: 0.05, high: 1}",
            "data.batch_size: {kind: choice, choices: [32, 256]}",
            "space.data.batch_size: choice 256",
            "split train has 192 images",
        ),
    ],
)
def test_a_corner_that_cannot_be_run_is_refused_and_its_bound_named(
    old: str,
    new: str,
    bound: str,
    reason: str,
    small_search: Callable[..., Path],
    small_manifest: Path,
    tmp_path: Path,
) -> None:
    file = small_search(tmp_path, small_manifest)
    kernel = "model: {backbone: test_byobnet, kernel: anisotropic, reduced_dim: 16}"
    file.write_text(file.read_text().replace(old, new).replace("model: {backbone: test_byobnet}", kernel))
    done = refused(file, tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"kmcl: {file}: {bound}: ")
    assert reason in last
    assert "trials of at most 3 epochs" in done.stdout


def test_what_the_cluster_cannot_hold_is_refused(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    file = small_search(tmp_path, small_manifest)
    file.write_text(file.read_text().replace("cpus_per_worker: 1", "cpus_per_worker: 1000"))
    assert "resources: a trial needs 2 workers of 1000 CPU" in refused(file, tmp_path).stderr


def test_a_search_is_not_planned_while_it_runs(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    file = small_search(tmp_path, small_manifest)
    with SearchLock(open_store(tmp_path / "store").root, "small"):
        done = refused(file, tmp_path)
    assert "already running" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
