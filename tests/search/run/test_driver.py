"""How the driver ends a trial: in the study, in MLflow and on the screen."""

import io
import logging
import re
from pathlib import Path

import pytest
from rich.console import Console

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import open_store
from kmcl_platform.search.run.assignment import Message
from kmcl_platform.search.run.driver import SearchDriver
from kmcl_platform.search.run.progress_table import SearchView
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.names import REASON_TAG
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.tracking.writing.recorder import Recorder

FILE = b"""
name: s
base: {num_epochs: 2}
space: {optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}}
baselines: []
budget: {trials: 3}
"""


def test_a_diverged_trial_and_a_failed_one_end_differently_everywhere(
    prepared_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, file = open_store(prepared_store), parse_search_file(FILE, "s.yaml")
    output = io.StringIO()
    runs = SearchRuns.open(store, file, FILE, "s.yaml")
    recorder = Recorder(store, file, runs, print)
    study = DurableStudy(store.study_url, file)
    view = SearchView(file, Console(file=output), {}, None)
    driver = SearchDriver(file, store, study, recorder, view)
    try:
        with caplog.at_level(logging.WARNING):
            messages: dict[str, Message] = {"a": {"diverged": "diverged at step 3"}, "b": {"failure": "no such image"}}
            for trial, message in messages.items():
                assert driver.next_trial(trial) is not None
                assert not driver.take(trial, {"note": "is tried once more"}), "the trial goes on"
                assert driver.take(trial, message), "the trial has ended"
        recorder.flush()
    finally:
        recorder.close()
    assert study.ended.ends == {0: "diverged", 1: "failed"}
    assert runs.trials.outcomes() == {0: "diverged", 1: "failed"}
    found = connect(store).search_runs([runs.experiment_id], "tags.`kmcl.role` = 'trial'")
    reasons = {run.data.tags["kmcl.number"]: run.data.tags[REASON_TAG] for run in found}
    assert reasons == {"0": "diverged at step 3", "1": "no such image"}
    # The seconds depend on how busy the machine is.
    assert re.search(r"trial   0 DIVERGED after 0 of 2 epochs in \d+ s \(diverged at step 3\)", output.getvalue())
    assert re.search(r"trial   1 FAILED after 0 of 2 epochs in \d+ s \(no such image\)", output.getvalue())
    assert "trial 1: is tried once more" in output.getvalue()
    assert "search s: trial 0 diverged: diverged at step 3" in caplog.messages


def test_pictures_are_made_of_the_baselines_and_of_trials_that_are_among_the_best(
    prepared_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = FILE.replace(b"trials: 3", b"trials: 6, checkpoints: 2").replace(b"num_epochs: 2", b"num_epochs: 1")
    content += b"scheduler: {kind: none}\n"
    store, file = open_store(prepared_store), parse_search_file(content, "s.yaml")
    recorder = Recorder(store, file, SearchRuns.open(store, file, content, "s.yaml"), print)
    asked: list[bool] = []
    monkeypatch.setattr(recorder, "queue_scores", lambda *_, pictures, **__: asked.append(pictures))
    study = DurableStudy(store.study_url, file)
    driver = SearchDriver(file, store, study, recorder, SearchView(file, Console(file=io.StringIO()), {}, None))
    try:
        for value in (0.1, 0.5, 0.6, 0.4, 0.5, 0.7):
            assert driver.next_trial("a") is not None
            report = EpochReport(epoch=1, seconds=1.0, metrics={"val/mAP": value}, resumed_from=0, process_id=1)
            assert driver.take("a", {"report": report.model_dump()})
    finally:
        recorder.close()
    # The base always. The fourth trial is behind two others, the fifth is as good as the second best.
    assert asked == [True, True, True, False, True, True]


def test_epochs_that_arrive_together_are_all_recorded_up_to_the_one_that_ends_the_trial(prepared_store: Path) -> None:
    content = FILE.replace(b"num_epochs: 2", b"num_epochs: 3") + b"scheduler: {kind: none}\n"
    store, file = open_store(prepared_store), parse_search_file(content, "s.yaml")
    runs = SearchRuns.open(store, file, content, "s.yaml")
    recorder, study = Recorder(store, file, runs, print), DurableStudy(store.study_url, file)
    driver = SearchDriver(file, store, study, recorder, SearchView(file, Console(file=io.StringIO()), {}, None))

    def report(epoch: int, **metrics: float) -> dict[str, object]:
        named = {f"val/{name}": value for name, value in metrics.items()}
        return EpochReport(epoch=epoch, seconds=1.0, metrics=named).model_dump()

    try:
        assert driver.next_trial("a") is not None
        assert driver.take("a", {"earlier": [report(1, mAP=0.1), report(2, mAP=0.2)], "report": report(3, mAP=0.3)})
        assert driver.next_trial("b") is not None
        # After epoch 1 without a value the trial has failed, and what follows is of no trial.
        assert driver.take("b", {"earlier": [report(1, precision=0.1)], "report": report(2, mAP=0.2)})
        recorder.flush()
    finally:
        recorder.close()
    assert study.ended.ends == {0: "completed", 1: "failed"}
    assert study.counted()[0].intermediate_values == {1: 0.1, 2: 0.2, 3: 0.3}
    assert study.counted()[1].intermediate_values == {}
    client = connect(store)
    (run,) = client.search_runs([runs.experiment_id], "tags.`kmcl.role` = 'trial' and tags.`kmcl.number` = '0'")
    assert [point.value for point in client.get_metric_history(run.info.run_id, "val/mAP")] == [0.1, 0.2, 0.3]
    (run,) = client.search_runs([runs.experiment_id], "tags.`kmcl.role` = 'trial' and tags.`kmcl.number` = '1'")
    assert client.get_metric_history(run.info.run_id, "val/mAP") == []
    assert [point.value for point in client.get_metric_history(run.info.run_id, "val/precision")] == [0.1]


def test_a_trial_whose_model_costs_too_much_is_called_refused() -> None:
    output = io.StringIO()
    view = SearchView(parse_search_file(FILE, "s.yaml"), Console(file=output, width=200), {}, None)
    view.trial_ended(3, "pruned", "params_millions 9 breaks the constraint params_millions <= 5", None, None)
    view.trial_ended(4, "pruned", "stopped early after epoch 1", 0.25, None)
    assert (
        "trial   3 refused in 0 s (params_millions 9 breaks the constraint params_millions <= 5)" in output.getvalue()
    )
    assert "trial   4 stopped, val/mAP 0.2500 in 0 s " in output.getvalue()
