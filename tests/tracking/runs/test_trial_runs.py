"""The runs of trials: everything is recorded once, also if a search is continued."""

from collections.abc import Callable

import pytest

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.config.store_record import store_id
from kmcl_platform.plugins.metric import list_metrics, metric_names
from kmcl_platform.tracking.database import connect, find_runs
from kmcl_platform.tracking.runs.leaderboard import build_leaderboard
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome

OpenRuns = Callable[[], SearchRuns]


def report(epoch: int, score: float = 0.5, seconds: float = 2.0) -> EpochReport:
    return EpochReport(epoch=epoch, metrics={"val/mAP": score, "train/loss": 1 / epoch}, seconds=seconds)


def test_every_config_value_is_a_param_under_its_dotted_path(
    store: Store, open_runs: OpenRuns, search_file: SearchFile
) -> None:
    config = search_file.base.with_values({"loss.temperature": 0.0712345678912, "optim.gradient_clip_norm": 1.5})
    runs = open_runs()
    runs.trials.begin(3, config, baseline=False)
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
        "kmcl.store": store_id(store),
    }
    assert run.data.tags["mlflow.parentRunId"] == runs.parent_id


def test_metrics_are_written_with_their_epoch_as_the_step(
    store: Store, open_runs: OpenRuns, search_file: SearchFile
) -> None:
    runs = open_runs()
    runs.trials.begin(0, search_file.base, baseline=True)
    for epoch in (1, 2):
        names = [name for metric in list_metrics(()) for name in metric_names(metric) if name != "macro_AUROC"]
        metrics = {f"val/{name}": epoch / 10 for name in names}
        runs.trials.log_epochs(0, [(EpochReport(epoch=epoch, metrics=metrics, seconds=1.5), None)])
    client = connect(store)
    (run,) = find_runs(client, runs.experiment_id, role="trial")
    assert run.info.run_name == "trial-0000-baseline"
    own = {"epochs": 2.0, "epoch_seconds": 1.5, "wall_seconds": 3.0}
    assert run.data.metrics == metrics | own  # an undefined metric is absent, not NaN
    history = client.get_metric_history(run.info.run_id, "val/top3/CF1")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2)]


def test_the_devices_of_a_trial_that_moved_are_recorded_in_their_order(
    store: Store, open_runs: OpenRuns, search_file: SearchFile
) -> None:
    def tag() -> str | None:
        (run,) = find_runs(connect(store), runs.experiment_id, role="trial")
        return run.data.tags.get("kmcl.device")

    runs = open_runs()
    runs.trials.begin(0, search_file.base, baseline=True)
    runs.trials.log_epochs(0, [(report(1), None)])
    assert tag() is None
    runs.trials.log_epochs(0, [(report(epoch).model_copy(update={"device": "T4"}), None) for epoch in (2, 3)])
    assert tag() == "T4"
    # A later start of the search, with the trial on another node and one epoch once more.
    runs = open_runs()
    runs.trials.begin(0, search_file.base, baseline=True)
    for epoch, name in ((3, "H100"), (4, "A100"), (5, "T4")):
        runs.trials.log_epochs(0, [(report(epoch).model_copy(update={"device": name}), None)])
    assert tag() == "T4; A100"
    board = build_leaderboard(connect(store), search_file, runs.experiment_id, runs.parent_id)
    assert [row.device for row in board.rows] == ["T4; A100"]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (TrialOutcome.COMPLETED, "FINISHED"),
        (TrialOutcome.PRUNED, "FINISHED"),
        (TrialOutcome.FAILED, "FAILED"),
        (TrialOutcome.DIVERGED, "FAILED"),
        (TrialOutcome.INTERRUPTED, "KILLED"),
    ],
)
def test_a_trials_end_is_recorded_once(
    store: Store, open_runs: OpenRuns, search_file: SearchFile, outcome: TrialOutcome, status: str
) -> None:
    runs = open_runs()
    runs.trials.begin(1, search_file.base, baseline=False)
    runs.trials.log_epochs(1, [(report(1, seconds=2.0), None)])
    runs.trials.log_epochs(1, [(report(2, seconds=3.0), None)])
    objective = 0.5 if outcome == TrialOutcome.COMPLETED else None
    runs.trials.end(1, outcome, "because", objective=objective)
    client = connect(store)
    (run,) = find_runs(client, runs.experiment_id, role="trial")
    assert run.info.status == status
    assert (run.data.tags["kmcl.outcome"], run.data.tags["kmcl.reason"]) == (outcome.value, "because")
    assert run.data.metrics.get("objective") == objective
    assert run.data.metrics["wall_seconds"] == 5.0

    open_runs().trials.end(1, outcome, "because", objective=objective)
    again = client.get_run(run.info.run_id)
    assert again.info.end_time == run.info.end_time
    for name in again.data.metrics:
        history = client.get_metric_history(run.info.run_id, name)
        assert len({point.step for point in history}) == len(history), name


def test_a_continued_search_uses_the_same_runs(store: Store, open_runs: OpenRuns, search_file: SearchFile) -> None:
    first = open_runs()
    first.trials.begin(2, search_file.base, baseline=False)
    first.trials.log_epochs(2, [(report(1, 0.1), None)])
    first.trials.log_epochs(2, [(report(2, 0.2), None)])
    first.trials.end(2, TrialOutcome.INTERRUPTED, "Ctrl-C", objective=None)
    first.end("interrupted")
    client = connect(store)
    assert client.get_run(first.parent_id).info.status == "KILLED"

    second = open_runs()
    assert (second.experiment_id, second.parent_id) == (first.experiment_id, first.parent_id)
    assert client.get_run(second.parent_id).info.status == "RUNNING"
    assert second.trials.outcomes() == {2: "interrupted"}
    second.trials.begin(2, search_file.base, baseline=False)
    assert second.trials.outcomes() == {2: "running"}
    (run,) = find_runs(client, second.experiment_id, role="trial")
    assert (run.info.status, run.data.tags["kmcl.reason"]) == ("RUNNING", "")
    for epoch, score in ((2, 0.9), (3, 0.3), (4, 0.4)):  # epoch 2 once more, as after a checkpoint of epoch 1
        second.trials.log_epochs(2, [(report(epoch, score), None)])
    second.trials.end(2, TrialOutcome.COMPLETED, objective=0.4)
    second.end("finished")

    run = client.get_run(run.info.run_id)
    assert (run.info.status, run.data.tags["kmcl.outcome"]) == ("FINISHED", "completed")
    history = client.get_metric_history(run.info.run_id, "val/mAP")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
    assert run.data.metrics["wall_seconds"] == 8.0
    assert client.get_run(second.parent_id).info.status == "FINISHED"
    assert len(client.search_runs([second.experiment_id])) == 2


def test_epochs_that_waited_are_written_together_with_their_own_times(
    store: Store, open_runs: OpenRuns, search_file: SearchFile
) -> None:
    runs = open_runs()
    runs.trials.begin(0, search_file.base, baseline=True, time_ms=1_000)
    for _ in range(2):
        runs.trials.log_epochs(0, [(report(1, 0.1), 2_000), (report(2, 0.2), 3_000)])
    runs.trials.end(0, TrialOutcome.PRUNED, objective=0.2, time_ms=4_000)
    client = connect(store)
    (run,) = find_runs(client, runs.experiment_id, role="trial")
    history = client.get_metric_history(run.info.run_id, "val/mAP")
    assert [(point.step, point.value, point.timestamp) for point in history] == [(1, 0.1, 2_000), (2, 0.2, 3_000)]
    assert (run.info.start_time, run.info.end_time) == (1_000, 4_000)
