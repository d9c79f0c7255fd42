"""A search in a process of its own, and the checks of it after an accident."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import optuna
from mlflow import MlflowClient

from tests.support.command_line import start_kmcl
from tests.support.finished_search import read_reports
from tests.support.processes import kill_family
from tests.support.waiting import wait_until

NUM_TRIALS = 3
NUM_EPOCHS = 8
SECONDS = 900

Found = TypeVar("Found")

Story = dict[int, tuple[str, dict[str, Any], dict[int, float]]]
"""The state, the parameters and the value after each epoch of every trial, by its number."""


@dataclass(frozen=True)
class Seen:
    """The work that a search had done at a moment.

    Attributes:
        starts: number of its starts.
        seconds: wall time that was charged to its study.
        reports: the reports in each trial's checkpoint: metrics, duration and process id of every epoch.
        written: time at which the checkpoint of each ended trial was written.
    """

    starts: int
    seconds: float
    reports: dict[int, list[Any]]
    written: dict[int, list[int]]


@dataclass
class Search:
    """A search that is started by the same command each time.

    Attributes:
        folder: holds its file and its output.
        options: of the command, in addition to the store.
        environment: variables that are added to those of this process.
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
        tracking = ["--tracking-uri", self.tracking_uri] if self.tracking_uri else []
        self.output.append(self.folder / f"output-{len(self.output)}.txt")
        return start_kmcl(
            *(words or ("search", self.file)), *tracking, *self.options,
            store=self.store, log=self.output[-1], environment=self.environment,
        )  # fmt: skip

    def said(self) -> str:
        return "\n".join(path.read_text() for path in self.output)

    def wait_for_line(self, process: "subprocess.Popen[bytes]", text: str) -> None:
        """Wait until the search has printed a text."""
        self._wait(process, lambda: text in self.said())

    def wait_for_epoch(self, process: "subprocess.Popen[bytes]", trial: int = 0, epoch: int = 1) -> int:
        """Wait for a trial's checkpoint after an epoch; returns the id of the process that wrote it."""
        reports = self._wait(process, lambda: (found := self._reports(trial))[epoch - 1 :] and found)
        return int(reports[-1]["process_id"])

    def wait_for_trial(self, process: "subprocess.Popen[bytes]", trial: int) -> None:
        """Wait until a trial has begun, so that those before it have ended."""
        # Not before the study exists: the first process that looks for it makes its tables.
        self.wait_for_line(process, "at once")
        self._wait(process, lambda: trial in self.story())

    def _wait(self, process: "subprocess.Popen[bytes]", condition: Callable[[], Found]) -> Found:
        return wait_until(condition, seconds=SECONDS, process=process, log=self.output[-1])

    def story(self) -> Story:
        return {t.number: (t.state.name, t.params, t.intermediate_values) for t in self._study().get_trials()}

    def statuses(self) -> set[str]:
        """The statuses of the MLflow runs of the search and its trials."""
        return {run.info.status for run in self._runs()}

    def look(self) -> Seen:
        """The work that the search has done by now."""
        trials = self._study().get_trials()
        ended = [trial.number for trial in trials if trial.state.is_finished()]
        return Seen(
            starts=len(self.output),
            seconds=self._study().user_attrs.get("spent", {"seconds": 0.0})["seconds"],
            reports={trial.number: self._reports(trial.number) for trial in trials},
            written={
                number: [path.stat().st_mtime_ns for path in self._folder(number).glob("epoch-*/trial.json")]
                for number in ended
            },
        )

    def check(self, undisturbed: Story, before: Seen) -> None:
        """Check that the search ended as if there had been no accident after `before`, and that no work was done twice."""
        assert self.story() == undisturbed
        self._check_record(undisturbed)
        self._check_work(before)
        self._check_budget(before)

    def _check_record(self, expected: Story) -> None:
        """MLflow has the same content as the study, every epoch once, and no run is left RUNNING."""
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
        """No epoch that had a checkpoint was trained again, and no checkpoint of an ended trial was written again.

        The epoch that was being trained at the time of the accident is trained again, and its time is charged again.
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
        """The time charged since the last start is between two bounds.

        The upper bound is the wall time of the trials of that start. The lower bound is the sum of the epochs that it
        reported first. GPU time is charged at the same place; that is tested without processes and without GPUs.
        """
        again = len(self.output) > before.starts
        charged = self.look().seconds - (before.seconds if again else 0.0)
        phases = re.findall(r"trials (\d+) s", self.output[-1].read_text())
        if not phases:  # All trials had been trained before; only the record was completed.
            assert again and charged == 0
            return
        (phase,) = phases
        left = {number: reports for number, reports in self.look().reports.items() if reports}
        reported = sum(report["seconds"] for reports in left.values() for report in reports)
        known = sum(report["seconds"] for number in left for report in before.reports.get(number, ())) if again else 0.0
        assert left and reported - known <= charged <= int(phase) + 1

    def _study(self) -> optuna.Study:
        return optuna.load_study(study_name="small", storage=f"sqlite:///{self.store}/optuna.db")

    def _runs(self) -> list[Any]:
        experiment = self._client().get_experiment_by_name("small")
        assert experiment is not None
        return list(self._client().search_runs([experiment.experiment_id]))

    def _history(self, run: Any, metric: str) -> list[tuple[int, float]]:
        history = self._client().get_metric_history(run.info.run_id, metric)
        return [(point.step, point.value) for point in history]

    def _client(self) -> MlflowClient:
        return MlflowClient(self.tracking_uri or f"sqlite:///{self.store}/mlflow.db")

    def _reports(self, trial: int) -> list[dict[str, Any]]:
        return read_reports(self._folder(trial))

    def _folder(self, trial: int) -> Path:
        return self.store / "checkpoints" / "small" / f"trial-{trial:04d}"


def wait_for_end(search: Search, process: subprocess.Popen[bytes], seconds: float = SECONDS) -> int:
    """The exit code of a search. A search that does not end in time is killed."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"no end after {seconds} s: {search.said()}") from None
    finally:
        if process.poll() is None:
            kill_family(process)


def finish(search: Search, process: subprocess.Popen[bytes]) -> None:
    assert wait_for_end(search, process) == 0, search.said()


def check_one_line(search: Search, code: int, line: str) -> None:
    """Check that a search ended with exit code 2 and one line for the user."""
    said = search.output[-1].read_text()
    assert (code, "Traceback" in said) == (2, False), said
    (last,) = [words for words in said.splitlines() if words.startswith("kmcl: ")]
    assert re.fullmatch(line, last), said
