"""A real MLflow SQLite store for each test: initialised once, then copied, which saves seconds a test."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome
from tests.support.fresh_start import FreshStart, read_fresh_start

SEARCH_YAML = b"""\
# this comment is part of the record
name: tiny
objective: {metric: val/mAP, mode: maximize}
base: {optim: {lr: 1e-3}, num_epochs: 4}
space:
  loss.temperature: {kind: loguniform, low: 0.05, high: 1}
  model.kernels_per_class: {kind: int, low: 1, high: 4}
baselines: []
budget: {trials: 6}
scheduler: {kind: successive_halving, min_epochs: 1, reduction_factor: 2}
"""


@pytest.fixture(scope="session")
def fresh_start(tmp_path_factory: pytest.TempPathFactory) -> FreshStart:
    return read_fresh_start(tmp_path_factory)


@pytest.fixture
def store(tmp_path: Path, initialised_database: Path) -> Store:
    root = tmp_path / "a store"  # with a space, which a URI of artifacts has as %20
    root.mkdir()
    shutil.copy(initialised_database, root / "mlflow.db")
    return open_store(root)


@pytest.fixture
def search_yaml() -> bytes:
    return SEARCH_YAML


@pytest.fixture
def search_file(search_yaml: bytes) -> SearchFile:
    return parse_search_file(search_yaml, "tiny.yaml")


@pytest.fixture
def open_runs(store: Store, search_file: SearchFile, search_yaml: bytes) -> Callable[[], SearchRuns]:
    """Opens the search's record again, as each process that continues it does."""
    return lambda: SearchRuns.open(store, search_file, search_yaml, "tiny.yaml")


@pytest.fixture
def run_trial(search_file: SearchFile) -> Callable[..., None]:
    """Writes a whole trial: its val/mAP after each epoch, then its end."""
    return trial_writer(search_file)


def trial_writer(search_file: SearchFile) -> Callable[..., None]:
    """The function of the fixture `run_trial`, for a search file."""

    def run(
        runs: SearchRuns,
        number: int,
        scores: list[float],
        outcome: TrialOutcome,
        *,
        objective: float | None = None,
        **values: float,
    ) -> None:
        paths = {name.replace("__", "."): value for name, value in values.items()}
        runs.trials.begin(number, search_file.base.with_values(paths), baseline=number == 0)
        for epoch, score in enumerate(scores, start=1):
            runs.trials.log_epochs(number, [(EpochReport(epoch=epoch, metrics={"val/mAP": score}, seconds=2.0), None)])
        runs.trials.end(number, outcome, objective=objective)

    return run
