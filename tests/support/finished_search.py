"""One search from its plan to its end, with two accidents, which the tests of a session share."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.support.command_line import Answer, kmcl, kmcl_process, start_kmcl
from tests.support.waiting import wait_until

NUM_TRIALS = 4
NUM_EPOCHS = 4


@dataclass(frozen=True)
class FinishedSearch:
    """A store with the finished search `small`, and what its commands said on the way.

    The search was planned. Then a worker of its first start was killed, and after the trial had gone on in another
    worker, the search was stopped by Ctrl-C. The second start completed it. The third found nothing to do, except the
    score of the forecast, which had been deleted. The search file was deleted at the end.

    Attributes:
        store: the store, which tests must not change; `copy_store` makes one that they may.
        content: the bytes of the search file.
        plan: the document that `kmcl plan --json` printed before the first start.
        left_by_plan: the files of the store after it, relative to the store.
        forecast: the bytes of the forecast's file after it.
        killed: the process id of the killed worker.
        recovered: the first report of the trial after the kill.
        interrupted: the first start's exit code and output.
        survivors: processes of the first start that still ran half a minute after its end.
        runs_after_stop: status of every MLflow run after the first start, by the run's id.
        continued: the answer of the second start.
        again: the answer of the third start.
    """

    store: Path
    content: bytes
    plan: dict[str, Any]
    left_by_plan: list[str]
    forecast: bytes
    killed: int
    recovered: dict[str, Any]
    interrupted: Answer
    survivors: list[str]
    runs_after_stop: dict[str, str]
    continued: Answer
    again: Answer


def make_finished_search(folder: Path, file: Path) -> None:
    """Run the whole story; its store and its record are left in `folder`, for `read_finished_search`.

    Args:
        folder: an empty folder.
        file: the search file of `NUM_TRIALS` trials of `NUM_EPOCHS` epochs, which is deleted.
    """
    store = folder / "store"
    plan = kmcl_process("plan", file, "--json", "--steps", 4, store=store)
    assert plan.exit_code == 0, plan.output
    left = sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file())
    forecast = (store / "plans" / "small.json").read_bytes()
    first = _kill_and_interrupt(file, store, folder / "first.txt")
    runs = {run.info.run_id: run.info.status for run in read_runs(store)}
    continued = kmcl_process("search", file, store=store)
    assert continued.exit_code == 0, continued.output
    # As after a driver that was killed between its last trial and the score.
    (store / "plans" / "small.scored.json").unlink()
    again = kmcl("search", file, store=store)
    (folder / "search.yaml").write_bytes(file.read_bytes())
    (folder / "forecast.json").write_bytes(forecast)
    file.unlink()
    story = {
        "plan": json.loads(plan.stdout)[0],
        "left_by_plan": left,
        **first,
        "runs_after_stop": runs,
        "continued": asdict(continued),
        "again": asdict(again),
    }
    (folder / "story.json").write_text(json.dumps(story))


def read_finished_search(folder: Path) -> FinishedSearch:
    """The story that `make_finished_search` has left in a folder."""
    story = json.loads((folder / "story.json").read_text())
    for name in ("interrupted", "continued", "again"):
        story[name] = Answer(**story[name])
    content, forecast = ((folder / name).read_bytes() for name in ("search.yaml", "forecast.json"))
    return FinishedSearch(store=folder / "store", content=content, forecast=forecast, **story)


def _kill_and_interrupt(file: Path, store: Path, log: Path) -> dict[str, Any]:
    """The first start: a worker is killed after the first epoch, and Ctrl-C follows after the next one."""
    search = start_kmcl("search", file, log=log, store=store)
    trial = store / "checkpoints" / "small" / "trial-0000"
    try:
        (report,) = wait_until(lambda: read_reports(trial)[-1:], process=search, log=log)
        killed = int(report["process_id"])
        os.kill(killed, signal.SIGKILL)
        recovered = wait_until(_first_of_another(trial, killed), process=search, log=log)
        started = psutil.Process(search.pid).children(recursive=True)
        # A terminal's Ctrl-C reaches all processes of the group, Ray's too.
        os.killpg(search.pid, signal.SIGINT)
        code = search.wait(120)
    finally:
        end_group(search)
    _, survivors = psutil.wait_procs(started, timeout=30)
    return {
        "killed": killed,
        "recovered": recovered,
        "interrupted": asdict(Answer(code, log.read_text(), "")),
        "survivors": [str(process) for process in survivors],
    }


def _first_of_another(trial: Path, killed: int) -> Callable[[], dict[str, Any] | None]:
    return lambda: next((report for report in read_reports(trial) if report["process_id"] != killed), None)


def read_reports(trial: Path) -> list[dict[str, Any]]:
    """The reports in the latest checkpoint of a trial's folder; empty before its first."""
    found: list[list[dict[str, Any]]] = []
    for path in trial.glob("epoch-*/trial.json"):
        try:
            found.append(json.loads(path.read_text())["reports"])
        except FileNotFoundError:
            continue  # The next epoch's checkpoint has taken its place.
    return max(found, key=len, default=[])


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of a process that `start_kmcl` started, if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def read_runs(store: Path, search: str = "small", *, role: str = "") -> list[Run]:
    """The MLflow runs of a search in a store.

    Args:
        store: the folder with `mlflow.db`.
        search: the search's name.
        role: `search` or `trial`. Empty: both.
    """
    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name(search)
    assert experiment is not None
    wanted = f"tags.`kmcl.role` = '{role}'" if role else ""
    return list(client.search_runs([experiment.experiment_id], filter_string=wanted))
