"""Two searches that run at the same time on one store, and a second start of one of them."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from mlflow import MlflowClient

from tests.support.command_line import kmcl, start_kmcl
from tests.support.finished_search import end_group, read_runs
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.takes(90)]

SECONDS = 600

Story = dict[int, tuple[str, dict[str, Any], dict[int, float]]]


def story(store: Path, search: str) -> Story:
    study = optuna.load_study(study_name=search, storage=f"sqlite:///{store}/optuna.db")
    return {t.number: (t.state.name, t.params, t.intermediate_values) for t in study.get_trials()}


def check_record(store: Path, search: str, expected: Story) -> None:
    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    runs = read_runs(store, search)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["kmcl.search"] for run in runs} == {search}
    trials = {int(run.data.tags["kmcl.number"]): run for run in runs if run.data.tags["kmcl.role"] == "trial"}
    assert len(runs) == len(trials) + 1
    assert trials.keys() == expected.keys()
    for number, run in trials.items():
        history = client.get_metric_history(run.info.run_id, "val/mAP")
        assert {point.step: point.value for point in history} == expected[number][2]


def check_on_loopback(pid: int) -> None:
    """No port of a search can be reached from another machine."""
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
    logs = {name: tmp_path / f"{name}.txt" for name in ("one", "other")}
    try:
        for name, log in logs.items():
            (tmp_path / name).mkdir()
            file = small_search(tmp_path / name, small_manifest, epochs=12, trials=3)
            file.write_text(file.read_text().replace("name: small", f"name: {name}"))
            processes[name] = start_kmcl("search", file, log=log, store=store)
        wait_until(
            lambda: list(store.glob("checkpoints/one/*/epoch-*")),
            seconds=SECONDS, process=processes["one"], log=logs["one"],
        )  # fmt: skip
        check_on_loopback(processes["one"].pid)
        again = kmcl("search", tmp_path / "one" / "small.yaml", store=store)
        assert again.exit_code == 2
        assert again.stderr.startswith(f"kmcl: search 'one' is in use (process {processes['one'].pid} on ")
        assert "); valid: wait until that process ends, or stop it first" in again.stderr
        for name, process in processes.items():
            assert process.wait(SECONDS) == 0, logs[name].read_text()
    finally:
        for process in processes.values():
            end_group(process)
    # They have the same definition and seeds: if neither disturbed the other, their trials are equal.
    assert len(story(store, "one")) == 3
    assert story(store, "one") == story(store, "other")
    check_record(store, "one", story(store, "one"))
    check_record(store, "other", story(store, "other"))
