"""The recorder: what a driver says is in MLflow once, also if MLflow is away, or the driver dies, in between."""

import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.parquet import write_manifest
from kmcl_platform.data.scores_file import VALIDATION_SCORES, SplitScores, scores_to_bytes
from kmcl_platform.errors import NoAnswerError
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.figures.score_queue import ScoreQueue
from kmcl_platform.tracking.runs.leaderboard import read_artifact
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


def tell_a_trial(recorder: Recorder, file: SearchFile) -> None:
    recorder.begin_trial(0, file.base, baseline=True)
    for epoch in range(1, 5):
        recorder.log_epoch(0, report(epoch))
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
    tell_a_trial(recorder, search_file)
    recorder.flush()
    recorder.close()
    check_the_trial(store, runs)


class Flaky:
    """A record whose server is away for some calls, or that a process dies in the middle of."""

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


def test_a_server_that_is_away_holds_nothing_up_and_loses_nothing(
    store: Store, search_file: SearchFile, open_runs: OpenRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PAUSE_SECONDS", 0.05)
    flaky, said = Flaky(open_runs()), []
    flaky.away.set()
    recorder = Recorder(store, search_file, flaky, said.append)  # type: ignore[arg-type]
    tell_a_trial(recorder, search_file)
    with pytest.raises(NoAnswerError, match="does not answer any more"):
        recorder.flush()
    flaky.away.clear()
    recorder.flush()
    recorder.close()
    check_the_trial(store, flaky.runs)
    # It is said once that it is away, and once that it is back.
    assert len(said) == 2 and "the search goes on" in said[0] and said[1] == "MLflow answers again"
    # Epochs that waited are one request.
    assert flaky.calls[-4:] == ["begin", "log_epochs", "end", "log_progress"]


def test_the_next_start_writes_what_a_dead_driver_did_not(
    store: Store, search_file: SearchFile, open_runs: OpenRuns
) -> None:
    flaky = Flaky(open_runs())
    flaky.away.set()
    recorder = Recorder(store, search_file, flaky, lambda _: None)  # type: ignore[arg-type]
    tell_a_trial(recorder, search_file)
    recorder.close()  # as a death would leave it
    runs = open_runs()
    # Killed after a write, and before it was taken out: it is made again.
    with_first = Outbox(store, search_file.name)
    writer.write_entries(runs, with_first.peek(1))
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


def test_a_full_disk_is_raised_to_whoever_writes(store: Store, search_file: SearchFile, open_runs: OpenRuns) -> None:
    recorder = Recorder(store, search_file, open_runs(), print)
    connection = recorder._outbox._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        for _ in range(1000):
            recorder._outbox.add("epoch", {"number": 0, "padding": "x" * 5000})
    recorder.close()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "few.parquet"
    write_manifest(build_digits(num_train=8, num_val=40, num_test=8), path)
    return path


def write_checkpoint(folder: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    folder.mkdir()
    scores = SplitScores(rng.random((40, 10), dtype=np.float32), rng.integers(0, 2, (40, 10)))
    (folder / VALIDATION_SCORES).write_bytes(scores_to_bytes(scores))
    return folder


PICTURES = {"precision_recall.png", "average_precision.png", "cooccurrence.png", "mistakes.png"}


def test_pictures_wait_for_the_baseline_and_are_drawn_by_the_next_start_if_need_be(
    store: Store, search_file: SearchFile, search_yaml: bytes, manifest: Path, tmp_path: Path
) -> None:
    base = search_file.base.with_values({"data.source": str(manifest)})
    file = search_file.model_copy(update={"base": base})
    runs = SearchRuns.open(store, file, search_yaml, "tiny.yaml")
    recorder = Recorder(store, file, runs, print)
    for number in range(3):
        recorder.begin_trial(number, base, baseline=number == 2)
    recorder.queue_scores(0, write_checkpoint(tmp_path / "0", 0), TrialOutcome.COMPLETED, baseline=False)
    recorder.queue_scores(1, write_checkpoint(tmp_path / "1", 1), TrialOutcome.PRUNED, baseline=False)
    recorder.queue_scores(3, None, TrialOutcome.FAILED, baseline=False)
    recorder.flush()
    recorder.close()
    assert [kept.number for kept in ScoreQueue(store, file.name).waiting()] == [0, 1]

    said: list[str] = []
    recorder = Recorder(store, file, runs, said.append)
    recorder.queue_scores(2, write_checkpoint(tmp_path / "2", 2), TrialOutcome.COMPLETED, baseline=True)
    recorder.finish_drawings()
    recorder.flush()
    recorder.close()
    assert said == []
    # Of what was drawn nothing is left but what later trials are drawn against.
    left = {path.name for path in (store.root / "evidence" / file.name).iterdir()}
    assert left == {"baseline.safetensors", "artist.log"}
    client = connect(store)
    found = {}
    for number in range(3):
        run_id = runs.trials._known(number).run_id
        found[number] = {Path(one.path).name for one in client.list_artifacts(run_id, "evidence")}
        table = json.loads(read_artifact(client, run_id, "evidence/classes.json"))
        row = dict(zip(table["columns"], table["data"][3], strict=True))
        assert row["class"] == "3"
        assert (row["AP gained"] == 0) == (number == 2)
        assert row["AP of the baseline"] is not None
        assert "evidence/classes.json" in client.get_run(run_id).data.tags["mlflow.loggedArtifacts"]
    assert found == {0: PICTURES | {"classes.json"}, 1: {"classes.json"}, 2: PICTURES | {"classes.json"}}


def test_an_artist_that_dies_is_said(
    store: Store, search_file: SearchFile, search_yaml: bytes, manifest: Path, tmp_path: Path
) -> None:
    base = search_file.base.with_values({"data.source": str(manifest)})
    file = search_file.model_copy(update={"base": base, "baseline": False})
    said: list[str] = []
    recorder = Recorder(store, file, SearchRuns.open(store, file, search_yaml, "tiny.yaml"), said.append)
    recorder.queue_scores(0, write_checkpoint(tmp_path / "0", 0), TrialOutcome.COMPLETED, baseline=False)
    recorder._artist._process.kill()  # as a machine without memory does
    recorder.finish_drawings()
    recorder.close()
    (line,) = said
    assert line.startswith("the process that draws has ended with code -9; why, says ")
    assert len(ScoreQueue(store, file.name).waiting()) == 1


def test_a_drawing_that_fails_is_said_and_tried_again(
    store: Store, search_file: SearchFile, search_yaml: bytes, tmp_path: Path
) -> None:
    base = search_file.base.with_values({"data.source": str(tmp_path / "gone.parquet")})
    file = search_file.model_copy(update={"base": base, "baseline": False})
    said: list[str] = []
    recorder = Recorder(store, file, SearchRuns.open(store, file, search_yaml, "tiny.yaml"), said.append)
    recorder.queue_scores(0, write_checkpoint(tmp_path / "0", 0), TrialOutcome.PRUNED, baseline=False)
    recorder.finish_drawings()
    recorder.close()
    (line,) = said
    assert line.startswith("no pictures of trial 0: DataError: ")
    assert len(ScoreQueue(store, file.name).waiting()) == 1
