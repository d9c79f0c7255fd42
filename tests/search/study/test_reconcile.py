"""The study and MLflow's record agree again after a driver died between writing the one and the other."""

from pathlib import Path

import pytest

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import open_store
from kmcl_platform.errors import StoreError
from kmcl_platform.search.study.reconcile import close_record, finish_record
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.tracking.runs.search_run import SearchRuns

FILE = b"""
name: s
base: {num_epochs: 1}
space: {optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}}
baselines: []
budget: {trials: 1}
"""


def test_a_search_that_has_ended_is_closed_by_the_next_start(prepared_store: Path) -> None:
    store, file = open_store(prepared_store), parse_search_file(FILE, "s.yaml")
    runs = SearchRuns.open(store, file, FILE, "s.yaml")
    study = DurableStudy(store.study_url, file)
    point = study.next_point()
    assert point is not None
    runs.trials.begin(point.number, point.config, baseline=True)
    runs.trials.log_epochs(0, [(EpochReport(epoch=1, metrics={"val/mAP": 0.5}, seconds=1.0), None)])
    study.report(0, 1, 0.5, seconds=1.0)
    study.tell(0, "completed", 0.5)
    # Here the driver dies. In MLflow, both runs are RUNNING.
    finish_record(store, study, file, print)
    (row,) = read_leaderboard(store, "s").rows
    assert (row.rank, row.outcome, row.objective) == (1, "completed", 0.5)
    parent = connect(store).get_run(runs.parent_id).info
    assert parent.status == "FINISHED"
    finish_record(store, study, file, print)
    assert connect(store).get_run(runs.parent_id).info.end_time == parent.end_time


def test_after_trouble_another_error_is_still_raised(tmp_path: Path) -> None:
    class Fine:
        closed = False

        def flush(self) -> None:
            pass

        def close(self) -> None:
            self.closed = True

        @property
        def runs(self) -> "Fine":
            return self

    class Broken(Fine):
        def end(self, outcome: str) -> None:
            raise ValueError(outcome)

    class Full(Fine):
        def end(self, outcome: str) -> None:
            raise OSError(28, "No space left on device")

    store = open_store(tmp_path)
    full = Full()
    close_record(store, full, "failed", StoreError("full"))  # type: ignore[arg-type]
    assert full.closed
    with pytest.raises(ValueError, match="interrupted"):
        close_record(store, Broken(), "failed", StoreError("full"))  # type: ignore[arg-type]
    with pytest.raises(OSError, match="No space left"):
        close_record(store, Full(), "failed", None)  # type: ignore[arg-type]
