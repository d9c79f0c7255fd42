"""The recorder: each write is in MLflow once, even if MLflow does not answer or the driver dies in between."""

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.errors import NoAnswerError
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.figures.score_queue import ScoreQueue
from kmcl_platform.tracking.runs.names import TrialOutcome
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.tracking.writing import writer
from kmcl_platform.tracking.writing.outbox import Outbox
from kmcl_platform.tracking.writing.recorder import Recorder

OpenRuns = Callable[[], SearchRuns]
AWAY = "API request to http://127.0.0.1:5000/api failed with exception: connection refused"


def report(epoch: int) -> EpochReport:
    return EpochReport(
        epoch=epoch, metrics={"val/mAP": epoch / 10}, seconds=2.0, usage={"system/images_per_second": 7.0}
    )


def record_a_trial(recorder: Recorder, file: SearchFile) -> None:
    recorder.begin_trial(0, file.base, baseline=True)
    for epoch in range(1, 5):
        recorder.log_epochs(0, [report(epoch)])
    recorder.end_trial(0, TrialOutcome.COMPLETED, objective=0.4)
    recorder.log_progress({"trials/completed": 1.0, "best_objective": 0.4}, ended=1)


def check_the_trial(store: Store, runs: SearchRuns) -> None:
    client = connect(store)
    (run,) = [one for one in client.search_runs([runs.experiment_id]) if one.data.tags["kmcl.role"] == "trial"]
    assert (run.info.status, run.data.tags["kmcl.outcome"]) == ("FINISHED", "completed")
    history = client.get_metric_history(run.info.run_id, "val/mAP")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
    assert run.data.metrics["system/images_per_second"] == 7.0
    progress = client.get_metric_history(runs.parent_id, "best_objective")
    assert [(point.step, point.value) for point in progress] == [(1, 0.4)]


def test_all_is_in_mlflow_after_a_flush(store: Store, search_file: SearchFile, open_runs: OpenRuns) -> None:
    runs = open_runs()
    recorder = Recorder(store, search_file, runs, print)
    record_a_trial(recorder, search_file)
    recorder.flush()
    recorder.close()
    check_the_trial(store, runs)


class Flaky:
    """A record whose server does not answer while `away` is set. It lists the calls that it got."""

    def __init__(self, runs: Any, leader: "Flaky | None" = None) -> None:
        self.runs = runs
        self.away = leader.away if leader else threading.Event()
        self.calls: list[str] = leader.calls if leader else []

    @property
    def trials(self) -> "Flaky":
        return Flaky(self.runs.trials, self)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if self.away.is_set() and name != "forget":
                raise MlflowException(AWAY)
            return getattr(self.runs, name)(*args, **kwargs)

        return call


def test_no_write_is_lost_while_a_server_does_not_answer(
    store: Store, search_file: SearchFile, open_runs: OpenRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PAUSE_SECONDS", 0.05)
    flaky, lines = Flaky(open_runs()), []
    flaky.away.set()
    recorder = Recorder(store, search_file, flaky, lines.append)  # type: ignore[arg-type]
    record_a_trial(recorder, search_file)
    with pytest.raises(NoAnswerError, match="does not answer any more"):
        recorder.flush()
    flaky.away.clear()
    recorder.flush()
    recorder.close()
    check_the_trial(store, flaky.runs)
    # One line when it stops answering, and one when it answers again.
    assert len(lines) == 2 and "the search continues" in lines[0] and lines[1] == "MLflow answers again"
    # Epochs that waited are one request.
    assert flaky.calls[-4:] == ["begin", "log_epochs", "end", "log_progress"]


def test_the_next_start_writes_the_entries_of_a_dead_driver(
    store: Store, search_file: SearchFile, open_runs: OpenRuns
) -> None:
    flaky = Flaky(open_runs())
    flaky.away.set()
    recorder = Recorder(store, search_file, flaky, lambda _: None)  # type: ignore[arg-type]
    record_a_trial(recorder, search_file)
    recorder.close()  # the entries stay, as if the process had been killed
    runs = open_runs()
    # The process was killed after a write and before it removed the entry, so the write is made again.
    with_first = Outbox(store, search_file.name)
    writer.write_entries(runs, with_first.peek(1), ScoreQueue(store, search_file.name))
    with_first.close()
    successor = Recorder(store, search_file, runs, print)
    successor.flush()
    successor.close()
    check_the_trial(store, runs)


def test_an_error_of_our_own_is_raised_as_it_is(store: Store, search_file: SearchFile, open_runs: OpenRuns) -> None:
    recorder = Recorder(store, search_file, open_runs(), print)
    recorder.end_trial(7, TrialOutcome.FAILED, objective=None)
    with pytest.raises(Exception, match="has no trial 7"):
        recorder.flush()
    with pytest.raises(Exception, match="has no trial 7"):
        recorder.begin_trial(0, search_file.base, baseline=True)
    recorder.close()


def test_a_full_disk_is_raised_by_the_next_write(store: Store, search_file: SearchFile, open_runs: OpenRuns) -> None:
    recorder = Recorder(store, search_file, open_runs(), print)
    connection = recorder._outbox._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        for _ in range(1000):
            recorder._outbox.add("epoch", {"number": 0, "padding": "x" * 5000})
    recorder.close()
