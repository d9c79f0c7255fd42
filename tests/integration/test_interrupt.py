"""Ctrl-C in the middle of a search: everything is kept, nothing is left running, the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

pytestmark = pytest.mark.slow

NUM_TRIALS = 2
NUM_EPOCHS = 6


@dataclass
class Stopped:
    """A search that was stopped in its first trial, then continued to its end."""

    code: int
    output: str
    orphans: list[psutil.Process]
    runs_after_stop: list[Any]
    code_of_second: int
    output_of_second: str
    store: Path


@pytest.fixture(scope="module")
def stopped(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path_factory: pytest.TempPathFactory
) -> Stopped:
    folder = tmp_path_factory.mktemp("interrupt")
    store = folder / "store"
    file = small_search(folder, small_manifest, epochs=NUM_EPOCHS, trials=NUM_TRIALS)
    command = [sys.executable, "-m", "kmcl_platform.cli", "search", str(file), "--store", str(store)]
    log = folder / "output.txt"
    with log.open("w") as output:
        # Its own process group: a terminal's Ctrl-C reaches all processes of the group, Ray's too.
        search = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            wait_for_checkpoint(store / "checkpoints" / "small" / "trial-0000", search)
            started = psutil.Process(search.pid).children(recursive=True)
            os.killpg(search.pid, signal.SIGINT)
            code = search.wait(timeout=120)
        finally:
            search.kill()
    _, orphans = psutil.wait_procs(started, timeout=30)
    runs = child_runs(store)
    second = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    return Stopped(code, log.read_text(), orphans, runs, second.returncode, second.stdout + second.stderr, store)


def wait_for_checkpoint(folder: Path, search: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not list(folder.glob("epoch-*/trial.json")):
        assert time.monotonic() < deadline and search.poll() is None, "the search wrote no checkpoint"
        time.sleep(0.05)


def child_runs(store: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_it_ends_in_good_order_and_says_how_to_go_on(stopped: Stopped) -> None:
    assert stopped.code == 130, stopped.output
    assert "nothing is lost. To go on: kmcl search" in stopped.output
    assert "Traceback" not in stopped.output


def test_nothing_is_left_running(stopped: Stopped) -> None:
    assert stopped.orphans == []
    assert [run.info.run_name for run in stopped.runs_after_stop if run.info.status == "RUNNING"] == []


def test_the_same_command_goes_on_in_the_same_runs(stopped: Stopped) -> None:
    assert stopped.code_of_second == 0, stopped.output_of_second
    runs = {run.info.run_id: run for run in child_runs(stopped.store)}
    assert {run.info.run_id for run in stopped.runs_after_stop} <= set(runs)
    assert len(runs) == NUM_TRIALS + 1
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{stopped.store}/optuna.db")
    assert study.get_trials()[0].state.name == "COMPLETE"
    assert len(study.get_trials()) == NUM_TRIALS
    assert sorted(study.get_trials()[0].intermediate_values) == list(range(1, NUM_EPOCHS + 1))
