"""Two searches at once on one store, and a second start of one that runs."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

pytestmark = pytest.mark.long

SECONDS = 600

Story = dict[int, tuple[str, dict[str, Any], dict[int, float]]]


def command(file: Path, store: Path) -> list[str]:
    return [sys.executable, "-m", "kmcl_platform.cli", "search", str(file), "--store", str(store)]


def story(store: Path, search: str) -> Story:
    study = optuna.load_study(study_name=search, storage=f"sqlite:///{store}/optuna.db")
    return {t.number: (t.state.name, t.params, t.intermediate_values) for t in study.get_trials()}


def check_record(store: Path, search: str, expected: Story) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name(search)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["kmcl.search"] for run in runs} == {search}
    trials = {int(run.data.tags["kmcl.number"]): run for run in runs if run.data.tags["kmcl.role"] == "trial"}
    assert len(runs) == len(trials) + 1
    assert trials.keys() == expected.keys()
    for number, run in trials.items():
        history = client.get_metric_history(run.info.run_id, "val/mAP")
        assert {point.step: point.value for point in history} == expected[number][2]


def check_on_loopback(pid: int) -> None:
    """Whoever is on the same network finds no port of a search."""
    search = psutil.Process(pid)
    listening = {
        (process.name(), connection.laddr.ip.removeprefix("::ffff:"))
        for process in [search, *search.children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {"gcs_server", "raylet"} <= {name for name, _ in listening}
    assert {address for _, address in listening} == {"127.0.0.1"}, listening


def test_two_searches_on_one_store_do_not_disturb_each_other(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            file = small_search(tmp_path / name, small_manifest, epochs=12, trials=3)
            file.write_text(file.read_text().replace("name: small", f"name: {name}"))
            with (tmp_path / f"{name}.txt").open("w") as log:
                processes[name] = subprocess.Popen(
                    command(file, store), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
        deadline = time.monotonic() + SECONDS
        while not list(store.glob("checkpoints/one/*/epoch-*")):
            assert time.monotonic() < deadline and processes["one"].poll() is None, (tmp_path / "one.txt").read_text()
            time.sleep(0.2)
        check_on_loopback(processes["one"].pid)
        again = subprocess.run(
            command(tmp_path / "one" / "small.yaml", store),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert again.returncode == 2
        assert again.stderr.startswith(f"kmcl: search 'one' is already running (process {processes['one'].pid} on ")
        assert "; valid: wait for it, or stop it first" in again.stderr
        for name, process in processes.items():
            assert process.wait(SECONDS) == 0, (tmp_path / f"{name}.txt").read_text()
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.terminate()
                process.wait(120)
    # The same definition and seeds under two names: two searches undisturbed by each other are one story told twice.
    assert len(story(store, "one")) == 3
    assert story(store, "one") == story(store, "other")
    check_record(store, "one", story(store, "one"))
    check_record(store, "other", story(store, "other"))
