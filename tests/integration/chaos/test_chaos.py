"""Things die in mid-search; the search ends, perhaps after the same command was given again, as if nothing had happened.

make chaos     # three times, in random order, with a table at the end
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

pytestmark = pytest.mark.chaos

NUM_TRIALS = 3
NUM_EPOCHS = 8
SECONDS = 900

Story = dict[int, tuple[str, dict[str, Any], dict[int, float]]]
"""Of each trial: its state, its parameters, its values after each epoch."""


@dataclass
class Server:
    """An MLflow server on loopback that can be killed and started again."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self.folder}/server.db",
            "--artifacts-destination", str(self.folder / "artifacts"), "--host", "127.0.0.1",
            "--port", str(self.port), "--workers", "1",
        ]  # fmt: skip
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.txt").open("a") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.5)
        raise AssertionError((self.folder / "server.txt").read_text())

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
            self.process = None


@dataclass
class Search:
    """A search in a process of its own."""

    file: Path
    store: Path
    tracking_uri: str = ""
    output: list[str] = field(default_factory=list)

    @property
    def command(self) -> list[str]:
        words = [sys.executable, "-m", "kmcl_platform.cli", "search", str(self.file), "--store", str(self.store)]
        return [*words, "--tracking-uri", self.tracking_uri] if self.tracking_uri else words

    def start(self) -> subprocess.Popen[bytes]:
        path = self.store.parent / f"output-{len(self.output)}.txt"
        self.output.append(str(path))
        with path.open("w") as log:
            return subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def said(self) -> str:
        return "\n".join(Path(path).read_text() for path in self.output)

    def wait_for_epoch(self, process: subprocess.Popen[bytes], trial: int = 0, epoch: int = 1) -> int:
        """Wait until a trial's checkpoint stands; the process that wrote it."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            for state in self.store.glob(f"checkpoints/small/trial-{trial:04d}/epoch-*/trial.json"):
                try:
                    reports = json.loads(state.read_text())["reports"]
                except FileNotFoundError:  # the next epoch's took its place
                    continue
                if len(reports) >= epoch:
                    return int(reports[-1]["process_id"])
            time.sleep(0.05)
        raise AssertionError(f"no such checkpoint: {self.said()}")

    def story(self) -> Story:
        study = optuna.load_study(study_name="small", storage=f"sqlite:///{self.store}/optuna.db")
        return {t.number: (t.state.name, t.params, t.intermediate_values) for t in study.get_trials()}

    def check_record(self, expected: Story) -> None:
        """MLflow tells the same, with every epoch once, and nothing is left running."""
        from mlflow import MlflowClient

        client = MlflowClient(self.tracking_uri or f"sqlite:///{self.store}/mlflow.db")
        experiment = client.get_experiment_by_name("small")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert len([run for run in runs if run.data.tags["kmcl.role"] == "search"]) == 1
        trials = [run for run in runs if run.data.tags["kmcl.role"] == "trial"]
        assert sorted(int(run.data.tags["kmcl.number"]) for run in trials) == sorted(expected)
        for run in trials:
            history = client.get_metric_history(run.info.run_id, "val/mAP")
            steps = sorted((point.step, point.value) for point in history)
            assert steps == sorted(expected[int(run.data.tags["kmcl.number"])][2].items())


@pytest.fixture
def search(small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path) -> Search:
    return Search(small_search(tmp_path, small_manifest, epochs=NUM_EPOCHS, trials=NUM_TRIALS), tmp_path / "store")


@pytest.fixture(scope="session")
def undisturbed(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path_factory: pytest.TempPathFactory
) -> Story:
    folder = tmp_path_factory.mktemp("undisturbed")
    one = Search(small_search(folder, small_manifest, epochs=NUM_EPOCHS, trials=NUM_TRIALS), folder / "store")
    assert one.start().wait(SECONDS) == 0, one.said()
    one.check_record(one.story())
    return one.story()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = Server(tmp_path, port)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """What a machine does when it loses its power."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        if member.is_running():
            member.kill()
    process.wait(60)
    psutil.wait_procs(family, timeout=60)


def find(process: subprocess.Popen[bytes], *names: str) -> psutil.Process:
    seen = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            seen.append(" ".join(child.cmdline()[:2]))
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if any(name in seen[-1] for name in names):
            return child
    raise AssertionError(f"no process {names}: {seen}")


def finish(search: Search, process: subprocess.Popen[bytes]) -> None:
    try:
        assert process.wait(SECONDS) == 0, search.said()
    finally:
        if process.poll() is None:
            kill_all(process)


def test_a_training_worker_dies(search: Search, undisturbed: Story) -> None:
    process = search.start()
    os.kill(search.wait_for_epoch(process, epoch=3), signal.SIGKILL)
    finish(search, process)
    assert search.story() == undisturbed
    search.check_record(undisturbed)


# A trial's actor shows as the one name while it waits and as the other while it steps.
@pytest.mark.parametrize(
    "names",
    [("ray::WarmTrial", "ray::ResourceTrainable"), ("ray::MailboxState",), ("ray::TrainController",)],
    ids=["trial", "mailbox", "controller"],
)
def test_an_actor_dies(names: tuple[str, ...], search: Search, undisturbed: Story) -> None:
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    find(process, *names).kill()
    finish(search, process)
    assert search.story() == undisturbed
    search.check_record(undisturbed)


def test_the_machine_dies(search: Search, undisturbed: Story) -> None:
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    kill_all(process)
    finish(search, search.start())
    assert search.story() == undisturbed
    search.check_record(undisturbed)


def test_the_ray_head_dies(search: Search, undisturbed: Story) -> None:
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    find(process, "gcs_server").kill()
    try:
        process.wait(300)
    finally:
        if process.poll() is None:
            kill_all(process)
    finish(search, search.start())
    assert search.story() == undisturbed
    search.check_record(undisturbed)


def test_the_mlflow_server_is_away_for_a_minute(search: Search, server: Server, undisturbed: Story) -> None:
    search.tracking_uri = server.address
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    server.kill()
    time.sleep(60)
    server.start()
    finish(search, process)
    assert search.story() == undisturbed
    search.check_record(undisturbed)


def test_the_mlflow_server_is_away_until_the_search_is_started_again(
    search: Search, server: Server, undisturbed: Story
) -> None:
    search.tracking_uri = server.address
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    server.kill()
    try:
        assert process.wait(SECONDS) != 0, search.said()
    finally:
        if process.poll() is None:
            kill_all(process)
    server.start()
    finish(search, search.start())
    assert search.story() == undisturbed
    search.check_record(undisturbed)
