import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from threading import Barrier
from urllib.parse import parse_qs, urlsplit

import pytest

from kmcl_platform.config.epoch_report import VALIDATION_METRICS, EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.errors import SearchError
from kmcl_platform.tracking.database import connect, find_runs
from kmcl_platform.tracking.leaderboard import read_artifact, read_latest_file
from kmcl_platform.tracking.names import FORECAST_FILE
from kmcl_platform.tracking.provenance import git_tags
from kmcl_platform.tracking.runs import SearchRuns, TrialOutcome

OpenRuns = Callable[[], SearchRuns]
RunTrial = Callable[..., None]


def report(epoch: int, score: float = 0.5, seconds: float = 2.0) -> EpochReport:
    return EpochReport(epoch=epoch, metrics={"val/mAP": score, "train/loss": 1 / epoch}, seconds=seconds)


def test_the_parent_holds_what_the_search_is(
    store: Store, open_runs: OpenRuns, search_yaml: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.root)  # no repository: the commit is absent
    runs = open_runs()
    client = connect(store)
    parent = client.get_run(runs.parent_id)
    experiment = client.get_experiment(runs.experiment_id)

    assert (experiment.name, experiment.artifact_location) == ("tiny", (store.artifacts / "tiny").as_uri())
    assert parent.info.status == "RUNNING"
    assert parent.data.tags["kmcl.search"] == "tiny"
    assert parent.data.tags["kmcl.role"] == "search"
    assert parent.data.tags["kmcl.origin"] == "tiny.yaml"
    assert "kmcl.git_commit" not in parent.data.tags
    assert parent.data.params == {
        "objective.metric": "val/mAP",
        "objective.mode": "maximize",
        "budget.trials": "6",
        "budget.hours": "None",
        "budget.gpu_hours": "None",
        "budget.checkpoints": "3",
        "budget.patience": "None",
        "space.loss.temperature": "loguniform low=0.05 high=1.0",
        "space.model.kernels_per_class": "int low=1 high=4",
        "scheduler.kind": "successive_halving",
        "scheduler.min_epochs": "1",
        "scheduler.reduction_factor": "2",
        "resources.workers_per_trial": "1",
        "resources.cpus_per_worker": "1",
        "resources.gpus_per_worker": "0",
        "resources.max_concurrent_trials": "None",
        "sampler.kind": "tpe",
        "sampler.startup_trials": "10",
        "sampler.seed": "0",
    }
    assert read_artifact(client, runs.parent_id, "search_file.yaml") == search_yaml
    assert f"\nmlflow=={version('mlflow')}\n" in read_artifact(client, runs.parent_id, "environment.txt").decode()
    assert {path.name for path in store.root.iterdir()} == {"mlflow.db", "mlflow.lock", "artifacts"}


def test_two_who_open_a_search_at_once_share_its_runs(
    store: Store, open_runs: OpenRuns, search_file: SearchFile
) -> None:
    connect(store)  # what the threads race for is the runs
    barrier = Barrier(2)

    def open_and_begin(_: int) -> tuple[str, str]:
        barrier.wait()
        runs = open_runs()
        runs.begin_trial(0, search_file.base, baseline=True)
        return runs.experiment_id, runs.parent_id

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(open_and_begin, range(2))
    assert first == second
    found = connect(store).search_runs([first[0]])
    assert sorted(run.data.tags["kmcl.role"] for run in found) == ["search", "trial"]


def test_the_commit_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@e")
        done = subprocess.run(("git", *identity, *arguments), cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("one")
    git("init")
    git("add", "file")
    git("commit", "-m", "first")
    assert git_tags() == {"kmcl.git_commit": git("rev-parse", "HEAD"), "kmcl.git_dirty": "false"}
    (tmp_path / "file").write_text("two")
    assert git_tags()["kmcl.git_dirty"] == "true"


def test_a_record_that_was_cut_short_is_made_whole(store: Store, open_runs: OpenRuns) -> None:
    client = connect(store)
    experiment = client.create_experiment("tiny", (store.artifacts / "tiny").as_uri())
    cut = client.create_run(experiment, tags={"kmcl.search": "tiny", "kmcl.role": "search"})
    runs = open_runs()
    assert runs.parent_id == cut.info.run_id
    assert read_artifact(client, runs.parent_id, "search_file.yaml")
    assert client.get_experiment(experiment).tags["kmcl.search"] == "tiny"


def test_every_config_value_is_a_param_under_its_dotted_path(
    store: Store, open_runs: OpenRuns, search_file: SearchFile
) -> None:
    config = search_file.base.with_values({"loss.temperature": 0.0712345678912, "optim.gradient_clip_norm": 1.5})
    runs = open_runs()
    runs.begin_trial(3, config, baseline=False)
    (run,) = find_runs(connect(store), runs.experiment_id, trial="tiny-0003")
    assert run.data.params == {path: str(value) for path, value in config.flat().items()}
    assert run.data.params["loss.temperature"] == "0.0712345678912"
    assert run.info.run_name == "trial-0003"
    assert run.info.status == "RUNNING"
    kept = {name: value for name, value in run.data.tags.items() if name.startswith("kmcl.")}
    assert kept == {
        "kmcl.search": "tiny",
        "kmcl.role": "trial",
        "kmcl.trial": "tiny-0003",
        "kmcl.number": "3",
        "kmcl.baseline": "false",
        "kmcl.outcome": "running",
        "kmcl.reason": "",
    }
    assert run.data.tags["mlflow.parentRunId"] == runs.parent_id


def test_metrics_are_written_with_their_epoch_as_the_step(
    store: Store, open_runs: OpenRuns, search_file: SearchFile
) -> None:
    runs = open_runs()
    runs.begin_trial(0, search_file.base, baseline=True)
    for epoch in (1, 2):
        metrics = {name: epoch / 10 for name in VALIDATION_METRICS if name != "val/macro_AUROC"}
        runs.log_epoch(0, EpochReport(epoch=epoch, metrics=metrics, seconds=1.5))
    client = connect(store)
    (run,) = find_runs(client, runs.experiment_id, role="trial")
    assert run.info.run_name == "trial-0000-baseline"
    own = {"epochs": 2.0, "epoch_seconds": 1.5, "wall_seconds": 3.0}
    assert run.data.metrics == metrics | own  # an undefined metric is absent, not NaN
    history = client.get_metric_history(run.info.run_id, "val/top3/CF1")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2)]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (TrialOutcome.COMPLETED, "FINISHED"),
        (TrialOutcome.PRUNED, "FINISHED"),
        (TrialOutcome.FAILED, "FAILED"),
        (TrialOutcome.INTERRUPTED, "KILLED"),
    ],
)
def test_a_trials_end_is_recorded_truly_and_once(
    store: Store, open_runs: OpenRuns, search_file: SearchFile, outcome: TrialOutcome, status: str
) -> None:
    runs = open_runs()
    runs.begin_trial(1, search_file.base, baseline=False)
    runs.log_epoch(1, report(1, seconds=2.0))
    runs.log_epoch(1, report(2, seconds=3.0))
    objective = 0.5 if outcome == TrialOutcome.COMPLETED else None
    runs.end_trial(1, outcome, "because", objective=objective)
    client = connect(store)
    (run,) = find_runs(client, runs.experiment_id, role="trial")
    assert run.info.status == status
    assert (run.data.tags["kmcl.outcome"], run.data.tags["kmcl.reason"]) == (outcome.value, "because")
    assert run.data.metrics.get("objective") == objective
    assert run.data.metrics["wall_seconds"] == 5.0

    open_runs().end_trial(1, outcome, "because", objective=objective)
    again = client.get_run(run.info.run_id)
    assert again.info.end_time == run.info.end_time
    for name in again.data.metrics:
        history = client.get_metric_history(run.info.run_id, name)
        assert len({point.step for point in history}) == len(history), name


def test_a_continued_search_goes_on_in_the_same_runs(
    store: Store, open_runs: OpenRuns, search_file: SearchFile
) -> None:
    first = open_runs()
    first.begin_trial(2, search_file.base, baseline=False)
    first.log_epoch(2, report(1, 0.1))
    first.log_epoch(2, report(2, 0.2))
    first.end_trial(2, TrialOutcome.INTERRUPTED, "Ctrl-C", objective=None)
    first.end("interrupted")
    client = connect(store)
    assert client.get_run(first.parent_id).info.status == "KILLED"

    second = open_runs()
    assert (second.experiment_id, second.parent_id) == (first.experiment_id, first.parent_id)
    assert client.get_run(second.parent_id).info.status == "RUNNING"
    assert second.trial_outcomes() == {2: "interrupted"}
    second.begin_trial(2, search_file.base, baseline=False)
    assert second.trial_outcomes() == {2: "running"}
    (run,) = find_runs(client, second.experiment_id, role="trial")
    assert (run.info.status, run.data.tags["kmcl.reason"]) == ("RUNNING", "")
    for epoch, score in ((2, 0.9), (3, 0.3), (4, 0.4)):  # epoch 2 once more, as after a checkpoint of epoch 1
        second.log_epoch(2, report(epoch, score))
    second.end_trial(2, TrialOutcome.COMPLETED, objective=0.4)
    second.end("finished")

    run = client.get_run(run.info.run_id)
    assert (run.info.status, run.data.tags["kmcl.outcome"]) == ("FINISHED", "completed")
    history = client.get_metric_history(run.info.run_id, "val/mAP")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
    assert run.data.metrics["wall_seconds"] == 8.0
    assert client.get_run(second.parent_id).info.status == "FINISHED"
    assert len(client.search_runs([second.experiment_id])) == 2


def test_a_search_continued_with_another_file_keeps_both(
    store: Store, open_runs: OpenRuns, search_file: SearchFile, search_yaml: bytes
) -> None:
    runs = open_runs()
    longer = search_yaml.replace(b"trials: 6", b"trials: 9")
    SearchRuns.open(store, search_file, longer, "tiny.yaml")
    client = connect(store)
    assert read_artifact(client, runs.parent_id, "search_file.yaml") == search_yaml
    (added,) = client.list_artifacts(runs.parent_id, "continued_with")
    assert read_artifact(client, runs.parent_id, added.path) == longer
    assert read_latest_file(store, "tiny") == longer
    open_runs()
    assert read_latest_file(store, "tiny") == search_yaml


@pytest.mark.parametrize(
    ("outcome", "status"), [("finished", "FINISHED"), ("interrupted", "KILLED"), ("failed", "FAILED")]
)
def test_the_end_of_a_search_leaves_nothing_running(
    store: Store, open_runs: OpenRuns, search_file: SearchFile, outcome: str, status: str
) -> None:
    runs = open_runs()
    for number in (0, 1, 2):
        runs.begin_trial(number, search_file.base, baseline=number == 0)
    runs.log_epoch(1, report(1))
    client = connect(store)
    (cut,) = find_runs(client, runs.experiment_id, trial="tiny-0002")
    client.set_tag(cut.info.run_id, "kmcl.outcome", "pruned")  # killed between the two requests of end_trial

    open_runs().end(outcome)  # type: ignore[arg-type]

    assert client.get_run(runs.parent_id).info.status == status
    assert client.search_runs([runs.experiment_id], "attributes.status = 'RUNNING'") == []
    assert runs.trial_outcomes() == {0: "interrupted", 1: "interrupted", 2: "pruned"}
    statuses = [run.info.status for run in find_runs(client, runs.experiment_id, role="trial")]
    assert statuses == ["KILLED", "KILLED", "FINISHED"]


@pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes")  # of MLflow's log_table
def test_the_leaderboard_is_one_mlflow_table_also_after_a_second_end(
    store: Store, open_runs: OpenRuns, run_trial: RunTrial
) -> None:
    runs = open_runs()
    run_trial(runs, 0, [0.1, 0.2, 0.3, 0.4], TrialOutcome.COMPLETED, objective=0.4)
    run_trial(runs, 1, [0.2], TrialOutcome.PRUNED, objective=0.2)
    runs.end("finished")
    runs = open_runs()
    run_trial(runs, 2, [0.1, 0.2, 0.3, 0.6], TrialOutcome.COMPLETED, objective=0.6)
    runs.end("finished")

    client = connect(store)
    table = json.loads(read_artifact(client, runs.parent_id, "leaderboard.json"))
    columns = {name: [row[place] for row in table["data"]] for place, name in enumerate(table["columns"])}
    assert columns["trial"] == [2, 0, 1]
    assert columns["val/mAP"] == [0.6, 0.4, 0.2]
    assert columns["rank"] == [1, 2, None]
    parent = client.get_run(runs.parent_id)
    tables = json.loads(parent.data.tags["mlflow.loggedArtifacts"])
    assert tables == [{"path": "leaderboard.json", "type": "table"}]

    oracle = client.create_run(runs.experiment_id)
    client.log_table(oracle.info.run_id, columns, "leaderboard.json")
    theirs = json.loads(read_artifact(client, oracle.info.run_id, "leaderboard.json"))
    assert {name: type(value) for name, value in theirs.items()} == {name: type(value) for name, value in table.items()}
    assert theirs["columns"] == table["columns"]
    assert json.loads(client.get_run(oracle.info.run_id).data.tags["mlflow.loggedArtifacts"]) == tables
    assert parent.data.metrics == {
        "best_objective": 0.6,
        "trials/completed": 2,
        "trials/pruned": 1,
        "trials/failed": 0,
        "trials/interrupted": 0,
        "trials/running": 0,
    }


def test_the_link_sorts_by_the_objective_in_the_machine_learning_pages(open_runs: OpenRuns) -> None:
    runs = open_runs()
    link = runs.link("http://127.0.0.1:5000/")
    assert link == (
        f"http://127.0.0.1:5000/#/experiments/{runs.experiment_id}/runs?workflowType=machine_learning"
        "&compareRunsMode=CHART&orderByKey=metrics.%60val%2FmAP%60&orderByAsc=false"
    )
    assert parse_qs(urlsplit(urlsplit(link).fragment).query)["orderByKey"] == ["metrics.`val/mAP`"]


def test_errors(store: Store, open_runs: OpenRuns, search_file: SearchFile) -> None:
    runs = open_runs()
    with pytest.raises(SearchError, match="search 'tiny' has no trial 7; valid: one that was begun"):
        runs.log_epoch(7, report(1))
    runs.begin_trial(0, search_file.base, baseline=True)
    with pytest.raises(ValueError, match="trial 0: objective: got nan"):
        runs.end_trial(0, TrialOutcome.FAILED, objective=float("nan"))
    connect(store).delete_experiment(runs.experiment_id)
    with pytest.raises(SearchError, match="the experiment of search 'tiny' was deleted in MLflow"):
        open_runs()


def test_a_forecast_is_logged_once(store: Store, open_runs: OpenRuns, run_trial: RunTrial) -> None:
    runs = open_runs()
    run_trial(runs, 0, [0.1, 0.2], TrialOutcome.PRUNED)
    run_trial(runs, 1, [0.3], TrialOutcome.PRUNED)
    assert runs.epochs_and_seconds() == (3, 6.0)
    for _ in range(2):
        open_runs().log_forecast({"forecast/hours_ratio": 0.5}, {"forecast": {}, "happened": {"hours": 1.0}})
    client = connect(store)
    assert [point.value for point in client.get_metric_history(runs.parent_id, "forecast/hours_ratio")] == [0.5]
    assert json.loads(read_artifact(client, runs.parent_id, FORECAST_FILE))["happened"] == {"hours": 1.0}
