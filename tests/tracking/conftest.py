"""A real MLflow SQLite store for each test: initialised once, then copied, which saves seconds a test."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome

SEARCH_YAML = b"""\
# this comment is part of the record
name: tiny
objective: {metric: val/mAP, mode: maximize}
base: {optim: {lr: 1e-3}, num_epochs: 4}
space:
  loss.temperature: {kind: loguniform, low: 0.05, high: 1}
  model.kernels_per_class: {kind: int, low: 1, high: 4}
budget: {trials: 6}
scheduler: {kind: successive_halving, min_epochs: 1, reduction_factor: 2}
"""


PREPARE = """
import sys
from pathlib import Path
from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.database import prepare_store
print("ready", flush=True)
sys.stdin.readline()
prepare_store(open_store(Path(sys.argv[1])))
"""


@dataclass
class FreshStart:
    """What became of a store that two processes prepared at the same moment, before anything was there."""

    root: Path
    exit_codes: list[int]
    errors: list[str]


@pytest.fixture(scope="session")
def fresh_start(tmp_path_factory: pytest.TempPathFactory) -> FreshStart:
    root = tmp_path_factory.mktemp("fresh") / "store"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen((sys.executable, "-c", PREPARE, str(root)), text=True, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=300)[1] for process in processes]
    return FreshStart(root, [process.returncode for process in processes], errors)


@pytest.fixture(scope="session")
def initialised_database(fresh_start: FreshStart) -> Path:
    return fresh_start.root / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, initialised_database: Path) -> Store:
    root = tmp_path / "a store"  # the blank is on purpose: artifact locations are URIs
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
    """Opens the search's record anew, as each process that continues it does."""
    return lambda: SearchRuns.open(store, search_file, search_yaml, "tiny.yaml")


@pytest.fixture
def run_trial(search_file: SearchFile) -> Callable[..., None]:
    """Writes a whole trial: its val/mAP after each epoch, then its end."""

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
