"""The ledger: time is charged while the search runs, even if no trial reports."""

from pathlib import Path

import pytest

from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import open_store
from kmcl_platform.search.run.driver import SearchDriver
from kmcl_platform.search.study.budget import CHARGE_SECONDS
from kmcl_platform.search.study.study import DurableStudy

FILE = b"""
name: s
space: {optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}}
baselines: []
budget: {trials: 6, hours: 0.0255}
"""


class Clock:
    """A clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("kmcl_platform.search.study.budget.time.monotonic", lambda: self.now)


def test_a_trial_that_never_reports_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, file, store = Clock(monkeypatch), parse_search_file(FILE, "s.yaml"), open_store(tmp_path)
    study = DurableStudy(store.study_url, file)
    driver = SearchDriver(file, store, study, None, None)  # type: ignore[arg-type]  # Neither is used here.
    study.ledger.start()
    assert study.next_point() is not None
    # The budget is 91.8 s, and its end is between two times at which the spent time is written.
    for _ in range(91):
        clock.now += 1
        assert not driver.must_end()
    clock.now += 1
    assert driver.must_end(), "the search ends in the second in which its budget is spent"
    assert study.end_of_budget() == "budget.hours: 0.0256 of 0.0255 spent"
    assert study.next_point() is None


def test_a_killed_driver_loses_only_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, store = Clock(monkeypatch), open_store(tmp_path)
    file = parse_search_file(FILE.replace(b", hours: 0.0255", b""), "s.yaml")
    study = DurableStudy(store.study_url, file)
    driver = SearchDriver(file, store, study, None, None)  # type: ignore[arg-type]  # Neither is used here.
    study.ledger.start()
    for _ in range(100):
        clock.now += 1
        assert not driver.must_end()
    clock.now += CHARGE_SECONDS - 1  # Then it is killed.
    again = DurableStudy(store.study_url, file)
    assert again.ledger.hours == pytest.approx(100 / 3600)
    clock.now += 3600  # Between two starts no time is charged.
    again.ledger.start()
    assert again.ledger.hours == pytest.approx(100 / 3600)


def test_charges_are_not_written_more_often_than_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, store = Clock(monkeypatch), open_store(tmp_path)
    study = DurableStudy(store.study_url, parse_search_file(FILE, "s.yaml"))
    written: list[float] = []
    monkeypatch.setattr(study.ledger, "write", lambda: written.append(clock.now))
    study.ledger.start()
    for _ in range(300):
        clock.now += 0.1
        study.charge_time()
    assert len(written) == pytest.approx(30 / CHARGE_SECONDS, abs=1)


def test_after_a_search_its_hours_do_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, file, store = Clock(monkeypatch), parse_search_file(FILE, "s.yaml"), open_store(tmp_path)
    study = DurableStudy(store.study_url, file)
    study.ledger.start()
    clock.now += 30
    study.ledger.stop()
    clock.now += 60  # The record is completed, and the forecast scored.
    assert study.ledger.hours == pytest.approx(30 / 3600)
    assert DurableStudy(store.study_url, file).ledger.hours == study.ledger.hours


def test_short_epochs_are_written_together_and_a_long_one_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, store = Clock(monkeypatch), open_store(tmp_path)
    content = FILE.replace(b", hours: 0.0255", b"") + b"resources: {workers_per_trial: 2, gpus_per_worker: 1}\n"
    file = parse_search_file(content, "s.yaml")
    study = DurableStudy(store.study_url, file)
    study.ledger.start()

    def written() -> float:
        return DurableStudy(store.study_url, file).ledger.gpu_hours * 3600

    for _ in range(4):
        clock.now += 1
        study.ledger.add_epoch(1)
    assert (study.ledger.gpu_hours * 3600, written()) == (pytest.approx(8), 0)
    clock.now += 1
    study.ledger.add_epoch(1)
    assert written() == pytest.approx(10), "what is written is at most a few seconds old"
    study.ledger.add_epoch(CHARGE_SECONDS)
    assert written() == pytest.approx(10 + 2 * CHARGE_SECONDS)
    study.ledger.add_epoch(1)
    study.ledger.stop()
    assert written() == pytest.approx(12 + 2 * CHARGE_SECONDS), "the end of a search writes all"
