"""A machine that dies in mid-search: the doctor says what is left, puts it right, and the same command goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.search.cluster.doctor import examine

pytestmark = pytest.mark.long

NUM_EPOCHS = 40


def kmcl(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kmcl_platform.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)


def statuses(store: Path) -> dict[str, str]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    return {run.info.run_name: run.info.status for run in client.search_runs([experiment.experiment_id])}


def kill_in_mid_trial(file: Path, store: Path) -> None:
    command = [sys.executable, "-m", "kmcl_platform.cli", "search", str(file), "--store", str(store)]
    with (store.parent / "output.txt").open("w") as output:
        search = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list(store.glob("checkpoints/small/trial-0000/epoch-*/trial.json")):
        assert time.monotonic() < deadline and search.poll() is None, "the search wrote no checkpoint"
        time.sleep(0.05)
    while_it_runs = kmcl("doctor", "--store", store)
    assert while_it_runs.returncode == 0
    assert "RUNNING" not in while_it_runs.stdout and "no process" not in while_it_runs.stdout, while_it_runs.stdout
    family = psutil.Process(search.pid).children(recursive=True)
    os.killpg(search.pid, signal.SIGKILL)
    for process in family:
        if process.is_running():
            process.kill()
    search.wait(30)
    psutil.wait_procs(family, timeout=30)


def test_a_dead_search_is_found_and_put_right(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    file = small_search(tmp_path, small_manifest, epochs=NUM_EPOCHS, trials=1)
    kill_in_mid_trial(file, store)
    orphan = store / "checkpoints" / "small" / "trial-0007" / "epoch-0001"
    orphan.mkdir(parents=True)
    (orphan / "model.safetensors").write_bytes(b"x" * 1000)
    assert statuses(store) == {"small": "RUNNING", "trial-0000-baseline": "RUNNING"}

    said = kmcl("doctor", "--store", store)
    assert said.returncode == 0, said.stderr
    assert "2 runs are still running (small, trial-0000-baseline), but no process owns the search" in said.stdout
    assert "would: close them as KILLED" in said.stdout
    assert "1 trial is open with no process that trains them (trial 0 after epoch" in said.stdout
    # The kill may have met a checkpoint that was being written.
    assert re.search(r"(1 checkpoint folder is|2 checkpoint folders are) of no trial in the study", said.stdout)
    assert "(trial-0007" in said.stdout
    assert "next: kmcl doctor --fix" in said.stdout
    assert orphan.exists() and statuses(store)["small"] == "RUNNING"

    done = kmcl("doctor", "--fix", "--store", store)
    assert done.returncode == 0, done.stdout + done.stderr
    assert statuses(store) == {"small": "KILLED", "trial-0000-baseline": "KILLED"}
    assert not orphan.parent.exists()
    assert list(store.glob("checkpoints/small/trial-0000/epoch-*"))
    (left,) = examine(open_store(store))
    assert left.remedy == "kmcl search FILE goes on with them from their checkpoints"

    again = kmcl("search", file, "--store", store)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "trial 0: goes on after epoch" in again.stdout
    assert statuses(store) == {"small": "FINISHED", "trial-0000-baseline": "FINISHED"}
    assert examine(open_store(store)) == []
