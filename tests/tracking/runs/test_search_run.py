import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from threading import Barrier
from urllib.parse import parse_qs, urlsplit

import pytest

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.errors import SearchError
from kmcl_platform.tracking.database import connect, find_runs
from kmcl_platform.tracking.runs.artifacts import read_artifact
from kmcl_platform.tracking.runs.names import FORECAST_FILE
from kmcl_platform.tracking.runs.provenance import git_tags
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome
from kmcl_platform.tracking.runs.searches import read_latest_file

OpenRuns = Callable[[], SearchRuns]
RunTrial = Callable[..., None]


def report(epoch: int, score: float = 0.5, seconds: float = 2.0) -> EpochReport:
    return EpochReport(epoch=epoch, metrics={"val/mAP": score, "train/loss": 1 / epoch}, seconds=seconds)


def test_the_searchs_own_run_describes_the_search(
    store: Store, open_runs: OpenRuns, search_yaml: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.root)  # not a repository, so no commit is recorded
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
        "budget.money": "None",
        "budget.checkpoints": "3",
        "budget.patience": "None",
        "space.loss.temperature": "loguniform low=0.05 high=1.0",
        "space.model.kernels_per_class": "int low=1 high=4",
        "scheduler.kind": "successive_halving",
        "scheduler.allow_early_rungs": "False",
        "scheduler.min_epochs": "1",
        "scheduler.reduction_factor": "2",
        "resources.workers_per_trial": "1",
        "resources.cpus_per_worker": "1",
        "resources.gpus_per_worker": "0",
        "resources.accelerator_type": "None",
        "resources.max_concurrent_trials": "None",
        "resources.checkpoint_minutes": "10",
        "resources.price_per_hour": "None",
        "resources.share": "None",
        "sampler.kind": "tpe",
        "sampler.startup_trials": "10",
        "sampler.seed": "0",
    }
    assert read_artifact(client, runs.parent_id, "search_file.yaml") == search_yaml
    assert f"\nmlflow=={version('mlflow')}\n" in read_artifact(client, runs.parent_id, "environment.txt").decode()
    assert {path.name for path in store.root.iterdir()} == {
        "mlflow.db", "mlflow.lock", "artifacts", "store.json", "store.lock"
    }  # fmt: skip


def test_two_processes_that_open_a_search_together_share_its_runs(
    store: Store, open_runs: OpenRuns, search_file: SearchFile
) -> None:
    connect(store)  # the store exists, so that the threads compete for the runs only
    barrier = Barrier(2)

    def open_and_begin(_: int) -> tuple[str, str]:
        barrier.wait()
        runs = open_runs()
        runs.trials.begin(0, search_file.base, baseline=True)
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


def test_an_incomplete_record_is_completed(store: Store, open_runs: OpenRuns) -> None:
    client = connect(store)
    experiment = client.create_experiment("tiny", (store.artifacts / "tiny").as_uri())
    cut = client.create_run(experiment, tags={"kmcl.search": "tiny", "kmcl.role": "search"})
    runs = open_runs()
    assert runs.parent_id == cut.info.run_id
    assert read_artifact(client, runs.parent_id, "search_file.yaml")
    assert client.get_experiment(experiment).tags["kmcl.search"] == "tiny"


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
    assert read_latest_file(store, "tiny")[0] == longer
    open_runs()
    assert read_latest_file(store, "tiny")[0] == search_yaml


@pytest.mark.parametrize(
    ("outcome", "status"), [("finished", "FINISHED"), ("interrupted", "KILLED"), ("failed", "FAILED")]
)
def test_the_end_of_a_search_leaves_nothing_running(
    store: Store, open_runs: OpenRuns, search_file: SearchFile, outcome: str, status: str
) -> None:
    runs = open_runs()
    for number in (0, 1, 2):
        runs.trials.begin(number, search_file.base, baseline=number == 0)
    runs.trials.log_epochs(1, [(report(1), None)])
    client = connect(store)
    (cut,) = find_runs(client, runs.experiment_id, trial="tiny-0002")
    client.set_tag(cut.info.run_id, "kmcl.outcome", "pruned")  # killed between the two requests of an end

    open_runs().end(outcome)  # type: ignore[arg-type]

    assert client.get_run(runs.parent_id).info.status == status
    assert client.search_runs([runs.experiment_id], "attributes.status = 'RUNNING'") == []
    assert runs.trials.outcomes() == {0: "interrupted", 1: "interrupted", 2: "pruned"}
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
        "trials/diverged": 0,
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


def test_wrong_calls_are_refused(store: Store, open_runs: OpenRuns, search_file: SearchFile) -> None:
    runs = open_runs()
    with pytest.raises(SearchError, match="search 'tiny' has no trial 7; valid: one that was begun"):
        runs.trials.log_epochs(7, [(report(1), None)])
    runs.trials.begin(0, search_file.base, baseline=True)
    with pytest.raises(ValueError, match="trial 0: objective: got nan"):
        runs.trials.end(0, TrialOutcome.FAILED, objective=float("nan"))
    connect(store).delete_experiment(runs.experiment_id)
    with pytest.raises(SearchError, match="the experiment of search 'tiny' was deleted in MLflow"):
        open_runs()


def test_a_forecast_is_logged_once(store: Store, open_runs: OpenRuns, run_trial: RunTrial) -> None:
    runs = open_runs()
    run_trial(runs, 0, [0.1, 0.2], TrialOutcome.PRUNED)
    run_trial(runs, 1, [0.3], TrialOutcome.PRUNED)
    for _ in range(2):
        open_runs().log_forecast({"forecast/hours_ratio": 0.5}, {"forecast": {}, "happened": {"hours": 1.0}})
    client = connect(store)
    assert [point.value for point in client.get_metric_history(runs.parent_id, "forecast/hours_ratio")] == [0.5]
    assert json.loads(read_artifact(client, runs.parent_id, FORECAST_FILE))["happened"] == {"hours": 1.0}
