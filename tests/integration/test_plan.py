"""`kmcl plan`, as a user runs it: its output, the files it leaves, and the score of its forecast after the search."""

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from kmcl_platform.config.reports.measurement import Measurement
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import open_store
from kmcl_platform.search.plan.probe_points import Corner, TriedCorner
from kmcl_platform.search.study.lock import SearchLock
from tests.support.command_line import Answer, kmcl, kmcl_process
from tests.support.finished_search import NUM_EPOCHS, NUM_TRIALS, FinishedSearch, read_runs

pytestmark = [pytest.mark.story, pytest.mark.takes(40)]

FEWEST_EPOCHS = NUM_EPOCHS + NUM_TRIALS - 1
"""Of the search, if every trial but the first is stopped after one epoch."""


def read_search_run(finished: FinishedSearch) -> tuple[MlflowClient, Run]:
    (run,) = read_runs(finished.store, role="search")
    return MlflowClient(f"sqlite:///{finished.store}/mlflow.db"), run


def test_it_measures_each_corner(finished: FinishedSearch) -> None:
    corners = finished.plan["corners"]
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


def test_it_forecasts_the_whole_search(finished: FinishedSearch) -> None:
    document = finished.plan
    forecast = document["forecast"]
    assert (document["search"], document["concurrency"], document["refusal"]) == ("small", 1, "")
    assert (forecast["epochs"]["low"], forecast["epochs"]["high"]) == (FEWEST_EPOCHS, NUM_EPOCHS * NUM_TRIALS)
    assert 0 < forecast["hours"]["low"] <= forecast["hours"]["expected"] <= forecast["hours"]["high"] < 0.5
    assert forecast["gpu_hours"]["high"] == 0
    assert forecast["ends_by"] == "budget.trials"


def test_it_leaves_the_forecast_and_nothing_else(finished: FinishedSearch) -> None:
    assert finished.left_by_plan == ["locks/small.lock", "plans/small.json"]


def test_the_search_scores_it(finished: FinishedSearch) -> None:
    assert finished.continued.stdout.count("forecast of small: took ") == 1
    client, run = read_search_run(finished)
    metrics = run.data.metrics
    assert metrics["forecast/hours"] == pytest.approx(finished.plan["forecast"]["hours"]["expected"])
    # Wide bounds: other work on this machine changes the times. A wrong unit would be a factor of 60 or more.
    assert 1 / 20 < metrics["forecast/hours_ratio"] < 20
    assert 1 / 20 < metrics["forecast/epoch_seconds_ratio"] < 20
    assert metrics["forecast/disk_bytes_within_range"] == 1
    scored = metrics["forecast/disk_bytes"] * metrics["forecast/disk_bytes_ratio"]
    assert metrics["checkpoints/bytes"] == pytest.approx(scored)
    assert metrics["forecast/epochs_within_range"] == 1
    assert "forecast/gpu_hours_ratio" not in metrics
    document = json.loads(Path(client.download_artifacts(run.info.run_id, "forecast.json")).read_text())
    assert document["forecast"] == json.loads(finished.forecast)
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{finished.store}/optuna.db")
    assert document["happened"]["hours"] == pytest.approx(study.user_attrs["spent"]["seconds"] / 3600)
    epochs = sum(len(trial.intermediate_values) for trial in study.get_trials())
    assert document["happened"]["epochs"] == epochs
    assert FEWEST_EPOCHS <= epochs <= NUM_EPOCHS * NUM_TRIALS


def test_a_missing_score_is_made_at_the_next_start_and_changes_no_number(finished: FinishedSearch) -> None:
    assert "already finished" in finished.again.stdout
    (line,) = [line for line in finished.continued.stdout.splitlines() if line.startswith("forecast of small")]
    assert line in finished.again.stdout.splitlines()
    client, run = read_search_run(finished)
    assert len(client.get_metric_history(run.info.run_id, "forecast/hours_ratio")) == 1
    assert run.info.status == "FINISHED"


def check_forecast_is_kept(late: Answer, store: Path, forecast: bytes) -> None:
    assert late.exit_code == 0, late.output
    assert "the search has begun" in " ".join(late.stdout.split())
    assert (store / "plans" / "small.json").read_bytes() == forecast


def test_the_forecast_of_a_search_that_has_begun_stays_as_it_was(
    finished: FinishedSearch, finished_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Ray: each corner costs what it was measured to cost in the first plan."""
    measured = [
        Measurement(**{name: corner["measured"][name] for name in Measurement.model_fields})
        for corner in finished.plan["corners"]
    ]

    class Measured:
        start_seconds = 1.0

        def __init__(self, *_: object) -> None: ...

        def try_corner(self, _: SearchFile, corner: Corner) -> TriedCorner:
            return TriedCorner(corner, measured.pop(0), "")

        def close(self) -> None: ...

    monkeypatch.setattr("kmcl_platform.search.plan.probe_runner.Prober", Measured)
    for name, replacement in (("start_ray", str), ("stop_ray", str), ("trial_nodes", lambda: [{"CPU": 2.0}])):
        monkeypatch.setattr(f"kmcl_platform.search.plan.plan.{name}", replacement)
    file = tmp_path / "small.yaml"
    file.write_bytes(finished.content)
    check_forecast_is_kept(kmcl("plan", file, store=finished_copy), finished_copy, finished.forecast)
    assert measured == []


@pytest.mark.long
def test_the_forecast_stays_as_it_was_although_corners_are_measured_again(
    finished: FinishedSearch, finished_copy: Path, tmp_path: Path
) -> None:
    file = tmp_path / "small.yaml"
    file.write_bytes(finished.content)
    late = kmcl_process("plan", file, "--steps", 1, store=finished_copy)
    check_forecast_is_kept(late, finished_copy, finished.forecast)


def check_refused(answer: Answer, store: Path) -> None:
    assert answer.exit_code == 2, answer.output
    assert "Traceback" not in answer.stderr
    assert not (store / "plans" / "small.json").exists()


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
    done = kmcl_process("plan", file, "--steps", 2, store=tmp_path / "store")
    check_refused(done, tmp_path / "store")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"kmcl: {file}: {bound}: ")
    assert reason in last
    assert "trials of at most 3 epochs" in done.stdout


def test_what_the_cluster_cannot_hold_is_refused(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    file = small_search(tmp_path, small_manifest)
    file.write_text(file.read_text().replace("cpus_per_worker: 1", "cpus_per_worker: 1000"))
    done = kmcl_process("plan", file, "--steps", 2, store=tmp_path / "store")
    check_refused(done, tmp_path / "store")
    assert "resources: a trial needs 2 workers of 1000 CPU" in done.stderr


def test_a_search_is_not_planned_while_it_runs(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    file = small_search(tmp_path, small_manifest)
    with SearchLock(open_store(tmp_path / "store").root, "small"):
        done = kmcl("plan", file, "--steps", 2, store=tmp_path / "store")
    check_refused(done, tmp_path / "store")
    assert "search 'small' is in use (process " in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_corner_that_breaks_a_constraint_is_measured_no_further(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    file = small_search(tmp_path, small_manifest)
    # With 3 kernels the model has 0.2256 million parameters, with 2 it has 0.2178.
    file.write_text(f"{file.read_text()}constraints: {{params_millions: <= 0.22, latency_ms: <= 10000}}\n")
    done = kmcl_process("plan", file, "--steps", 2, "--json", store=tmp_path / "store")
    assert done.exit_code == 0, done.output
    (document,) = json.loads(done.stdout)
    high, *others = document["corners"]
    assert high["measured"] is None and high["failure"] == ""
    assert high["refused"].startswith("params_millions 0.2256 breaks the constraint")
    for corner in others:
        assert corner["refused"] == "" and 0.2 < corner["measured"]["model_costs"]["params_millions"] <= 0.22
        assert 0 < corner["measured"]["model_costs"]["latency_ms"] < 10000
    assert "corners that break a constraint: 1 of 3" in document["notes"][0]
