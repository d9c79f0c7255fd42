"""A search in a process of its own, what can be done to it, and what must be true of it afterwards."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import psutil

NUM_TRIALS = 3
NUM_EPOCHS = 8
SECONDS = 900

Story = dict[int, tuple[str, dict[str, Any], dict[int, float]]]
"""Of each trial: its state, its parameters, its values after each epoch."""


@dataclass(frozen=True)
class Seen:
    """What a search had done at a moment.

    Attributes:
        starts: how often it had been started.
        seconds: wall time that its study had been charged with.
        reports: of each trial, the reports in its checkpoint: what an epoch measured, how long it took, in which process.
        written: of each ended trial, when its checkpoint was written.
    """

    starts: int
    seconds: float
    reports: dict[int, list[Any]]
    written: dict[int, list[int]]


@dataclass
class Search:
    """A search that is started by the same command each time.

    Attributes:
        folder: where its file and its output lie.
        options: of the command, beside the store.
        environment: what its processes see beside this process's own.
    """

    folder: Path
    file: Path
    store: Path
    options: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    tracking_uri: str = ""
    output: list[Path] = field(default_factory=list)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """`kmcl search FILE`, or other words."""
        options = ["--tracking-uri", self.tracking_uri] if self.tracking_uri else []
        command = [sys.executable, "-m", "kmcl_platform.cli", *(words or ("search", str(self.file)))]
        self.output.append(self.folder / f"output-{len(self.output)}.txt")
        with self.output[-1].open("w") as log:
            return subprocess.Popen(
                [*command, "--store", str(self.store), *options, *self.options],
                env=os.environ | self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        return "\n".join(path.read_text() for path in self.output)

    def wait_for_line(self, process: subprocess.Popen[bytes], text: str) -> None:
        """Wait until the search has said something."""
        deadline = time.monotonic() + SECONDS
        while text not in self.said():
            assert time.monotonic() < deadline and process.poll() is None, self.said()
            time.sleep(0.05)

    def wait_for_epoch(self, process: subprocess.Popen[bytes], trial: int = 0, epoch: int = 1) -> int:
        """Wait until a trial's checkpoint stands; the process that wrote it."""
        deadline = time.monotonic() + SECONDS
        while len(reports := self._reports(trial)) < epoch:
            assert time.monotonic() < deadline and process.poll() is None, f"no such checkpoint: {self.said()}"
            time.sleep(0.05)
        return int(reports[-1]["process_id"])

    def wait_for_trial(self, process: subprocess.Popen[bytes], trial: int) -> None:
        """Wait until a trial was handed out, so that those before it have ended."""
        # Not before the study is there: who looks for it first makes its tables.
        self.wait_for_line(process, "at once")
        deadline = time.monotonic() + SECONDS
        while trial not in self.story():
            assert time.monotonic() < deadline and process.poll() is None, f"no trial {trial}: {self.said()}"
            time.sleep(0.05)

    def story(self) -> Story:
        return {t.number: (t.state.name, t.params, t.intermediate_values) for t in self._study().get_trials()}

    def statuses(self) -> set[str]:
        """What MLflow says of the search and its trials."""
        return {run.info.status for run in self._runs()}

    def look(self) -> Seen:
        trials = self._study().get_trials()
        ended = [trial.number for trial in trials if trial.state.is_finished()]
        return Seen(
            starts=len(self.output),
            seconds=self._study().user_attrs.get("spent", {"seconds": 0.0})["seconds"],
            reports={trial.number: self._reports(trial.number) for trial in trials},
            written={number: [path.stat().st_mtime_ns for path in self._states(number)] for number in ended},
        )

    def check(self, undisturbed: Story, before: Seen) -> None:
        """The search has ended as if nothing had happened after `before`, and did nothing twice."""
        assert self.story() == undisturbed
        self._check_record(undisturbed)
        self._check_work(before)
        self._check_budget(before)

    def _check_record(self, expected: Story) -> None:
        """MLflow tells the same as the study, with every epoch once, and nothing is left running."""
        assert self.statuses() == {"FINISHED"}
        runs = self._runs()
        assert len([run for run in runs if run.data.tags["kmcl.role"] == "search"]) == 1
        trials = [run for run in runs if run.data.tags["kmcl.role"] == "trial"]
        assert sorted(int(run.data.tags["kmcl.number"]) for run in trials) == sorted(expected)
        for run in trials:
            points = self._history(run, "val/mAP")
            assert sorted(points) == sorted(expected[int(run.data.tags["kmcl.number"])][2].items())
            outcomes = {"COMPLETE": "completed", "PRUNED": "pruned", "FAIL": "failed"}
            assert run.data.tags["kmcl.outcome"] == outcomes[expected[int(run.data.tags["kmcl.number"])][0]]

    def _check_work(self, before: Seen) -> None:
        """No epoch whose checkpoint stood was trained again, and no ended trial was so much as written again.

        The epoch that was being trained when the disaster came is trained once more, and costs its time once more.
        """
        after = self.look()
        for number, reports in before.reports.items():
            # The checkpoints of trials that were stopped early are gone.
            if after.reports[number]:
                assert after.reports[number][: len(reports)] == reports
        for number, written in before.written.items():
            assert after.written[number] in (written, [])
        assert not list(self.store.glob("checkpoints/small/*/.writing-*"))

    def _check_budget(self, before: Seen) -> None:
        """The time charged since the last start is no longer than the trials of that start took by the clock.

        Nor is it shorter than the epochs that were first heard of: none was free. GPU time is charged where wall time
        is, once an epoch; that is tested without processes, since there are no GPUs here.
        """
        again = len(self.output) > before.starts
        charged = self.look().seconds - (before.seconds if again else 0.0)
        phases = re.findall(r"trials (\d+) s", self.output[-1].read_text())
        if not phases:  # All trials had been trained before; only the record was completed.
            assert again and charged == 0
            return
        (phase,) = phases
        kept = {number: reports for number, reports in self.look().reports.items() if reports}
        heard = sum(report["seconds"] for reports in kept.values() for report in reports)
        known = sum(report["seconds"] for number in kept for report in before.reports.get(number, ())) if again else 0.0
        assert kept and heard - known <= charged <= int(phase) + 1

    def _study(self) -> optuna.Study:
        return optuna.load_study(study_name="small", storage=f"sqlite:///{self.store}/optuna.db")

    def _runs(self) -> list[Any]:
        experiment = self._client().get_experiment_by_name("small")
        assert experiment is not None
        return list(self._client().search_runs([experiment.experiment_id]))

    def _history(self, run: Any, metric: str) -> list[tuple[int, float]]:
        history = self._client().get_metric_history(run.info.run_id, metric)
        return [(point.step, point.value) for point in history]

    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.tracking_uri or f"sqlite:///{self.store}/mlflow.db")

    def _states(self, trial: int) -> Any:
        return self.store.glob(f"checkpoints/small/trial-{trial:04d}/epoch-*/trial.json")

    def _reports(self, trial: int) -> list[Any]:
        for _ in range(10):
            try:
                return max(
                    (json.loads(path.read_text())["reports"] for path in self._states(trial)), key=len, default=[]
                )
            except FileNotFoundError:  # the next epoch's took its place
                time.sleep(0.01)
        raise AssertionError(f"the checkpoints of trial {trial} cannot be read")


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


def wait_for_end(search: Search, process: subprocess.Popen[bytes], seconds: float = SECONDS) -> int:
    """The exit code of a search; one that does not end in time is killed."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"no end after {seconds} s: {search.said()}") from None
    finally:
        if process.poll() is None:
            kill_all(process)


def finish(search: Search, process: subprocess.Popen[bytes]) -> None:
    assert wait_for_end(search, process) == 0, search.said()


def check_one_line(search: Search, code: int, line: str) -> None:
    """A search has ended with one line for the user, who can mend what it says."""
    said = search.output[-1].read_text()
    assert (code, "Traceback" in said) == (2, False), said
    (last,) = [words for words in said.splitlines() if words.startswith("kmcl: ")]
    assert re.fullmatch(line, last), said
