"""A large search whose trials are not trained: what the driver, the study, the record and the report take.

    python -m benchmarks.soak --work FOLDER [--trials 1000] [--epochs 40] [--at-once 64] [--epoch-seconds 0]
        [--scheduler none] [--postgres]

The search is a real one, with its lock, its study, its outbox, its process for figures, MLflow and the report. Only the
runner is another one: a trial reports the learning curve of a trial of an archive (`--curves`), stretched to its
epochs, and writes a checkpoint with scores when it ends. Trials run at the same time in the order of a clock of their
own; with `--epoch-seconds` each epoch also takes real time.

The table compares the second tenth of the trials with the last one: milliseconds (median and 99th percentile) that the
driver takes for a report, for a point and for the end of a trial. *Busy* is the share of its time that it would spend
on reports if each of the trials at once had an epoch every three seconds. Then follow the sizes on the disk, the memory
of the driver, the requests that write to MLflow, the time in which a headless Chromium has drawn the report's first
figure, and a comparison of MLflow and the study, trial by trial. The first half of the trials is a start of its
own, so the second start shows how long a restart takes.

With `--postgres` the study and MLflow's server use a PostgreSQL server, which is started for it (on loopback).
"""

import argparse
import heapq
import io
import resource
import statistics
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import torch
from optuna.trial import TrialState
from rich.console import Console

from benchmarks.soak_services import Services, count_requests, postgres_services, seconds_to_draw
from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.data.scores_file import SplitScores
from kmcl_platform.files.yaml_document import write_yaml
from kmcl_platform.search.run.driver import SearchDriver
from kmcl_platform.search.run.run_search import prepare
from kmcl_platform.search.run.single_search import run_or_find
from kmcl_platform.search.study.storage import require_study
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.report.page import REPORT_FILE
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.training.build import build_model
from kmcl_platform.training.checkpoints.checkpoint import TrialProgress, write_checkpoint

PERIOD = 3.0
"""Seconds of an epoch in the figure *busy*."""

Times = dict[str, list[tuple[int, float]]]
"""For each kind of call: the number of trials begun before it, and its seconds."""


def search_file(trials: int, epochs: int, name: str, scheduler: str) -> dict[str, Any]:
    return {
        "name": name,
        "base": {
            "data": {"source": "digits", "image_size": 32, "batch_size": 128},
            "model": {"backbone": "test_resnet"},
            "optim": {"optimizer": "adamw", "lr": 0.01},
            "num_epochs": epochs,
        },
        "space": {
            "optim.lr": {"kind": "loguniform", "low": 1e-4, "high": 1e-1},
            "optim.weight_decay": {"kind": "loguniform", "low": 1e-5, "high": 1e-1},
            "loss.reconstruction_weight": {"kind": "loguniform", "low": 0.01, "high": 1.0},
            "loss.contrastive_weight": {"kind": "loguniform", "low": 0.01, "high": 1.0},
            "loss.temperature": {"kind": "loguniform", "low": 0.05, "high": 1.0},
            "model.kernels_per_class": {"kind": "int", "low": 1, "high": 3},
        },
        "budget": {"trials": trials},
        "scheduler": {"kind": scheduler},
        "sampler": {"kind": "tpe", "seed": 0},
    }


def read_curves(archive: Path, epochs: int) -> list[dict[str, np.ndarray]]:
    """For each whole trial of an archive, every metric after each epoch, stretched to a number of epochs."""
    rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in pq.read_table(archive).to_pylist():
        if row["outcome"] == "completed":
            rows[row["trial"]].append(row)
    curves = []
    for trial in rows.values():
        trial.sort(key=lambda row: int(row["epoch"]))
        places = np.linspace(0, len(trial) - 1, epochs)
        names = [name for name, value in trial[0].items() if "/" in name and value is not None]
        curves.append({name: np.interp(places, range(len(trial)), [row[name] for row in trial]) for name in names})
    return curves


class Trials:
    """The runner: it reports curves, and measures what the driver takes."""

    draws_here = False

    def __init__(
        self, file: SearchFile, store: Store, curves: list[dict[str, np.ndarray]], at_once: int, seconds: float
    ) -> None:
        self._curves, self._at_once, self._seconds = curves, at_once, seconds
        self._model = build_model(file.base, 10)
        targets_NK = open_manifest(file.base.data.source, store.data).targets("val")
        self._scores = SplitScores(np.random.default_rng(0).random(targets_NK.shape, np.float32), targets_NK)
        self.times: Times = defaultdict(list)
        self.begun = 0

    def check(self, file: SearchFile) -> None:
        """See `Runner`: there is nothing to check."""

    def start(self, file: SearchFile) -> int:
        """See `Runner`."""
        return self._at_once

    def stop(self) -> None:
        """See `Runner`: there is nothing to end."""

    def run(self, file: SearchFile, driver: SearchDriver, concurrency: int) -> None:
        """See `Runner`."""
        queue: list[tuple[float, int, int]] = []
        open_trials: dict[int, Any] = {}

        def begin(now: float) -> None:
            assignment = self._timed("point", partial(driver.next_trial, str(self.begun)))
            if assignment is not None:
                open_trials[self.begun] = assignment
                # Trials are not in step: each has a speed of its own.
                heapq.heappush(queue, (now + 0.5 + self.begun % 7 / 7, self.begun, 1))
                self.begun += 1

        for _ in range(concurrency):
            begin(0.0)
        started, shown = time.monotonic(), 0.0
        while queue and not driver.must_end():
            now, key, epoch = heapq.heappop(queue)
            if self._seconds:
                time.sleep(max(0.0, started + now * self._seconds - time.monotonic()))
            assignment = open_trials[key]
            curve = self._curves[assignment["number"] % len(self._curves)]
            metrics = {name: float(values[epoch - 1]) for name, values in curve.items()}
            usage = {name: metrics.pop(name) for name in list(metrics) if name.startswith("system/")}
            report = EpochReport(epoch=epoch, metrics=metrics, seconds=PERIOD, usage=usage)
            last = epoch == file.base.num_epochs
            if last:
                self._write_checkpoint(assignment, report)
            message: Any = {"report": report.model_dump()}
            ended = self._timed("end" if last else "report", partial(driver.take, str(key), message))
            if ended:
                del open_trials[key]
                begin(now)
            else:
                heapq.heappush(queue, (now + 0.8 + key % 5 / 10, key, epoch + 1))
            if time.monotonic() - shown > 30:
                shown = time.monotonic()
                memory = psutil.Process().memory_info().rss / 1e6
                print(f"{shown - started:5.0f} s: {self.begun} trials begun, memory {memory:.0f} MB", flush=True)

    def _timed(self, kind: str, call: Any) -> Any:
        started = time.perf_counter()
        result = call()
        self.times[kind].append((self.begun, time.perf_counter() - started))
        return result

    def _write_checkpoint(self, assignment: Any, report: EpochReport) -> None:
        config = TrialConfig.model_validate(assignment["config"])
        # All epochs have the same report: only the last one is read.
        reports = tuple(report.model_copy(update={"epoch": epoch}) for epoch in range(1, report.epoch + 1))
        names = tuple(str(digit) for digit in range(10))
        progress = TrialProgress(config, names, reports)
        folder = Path(assignment["checkpoints"])
        write_checkpoint(
            folder, progress, model=self._model, average=self._model, optimizer_state={}, scores=self._scores
        )


def table(times: Times, trials: int, at_once: int) -> str:
    """The second tenth of the trials compared with the last one."""
    tenth = trials // 10
    parts = {
        f"trials {tenth} to {2 * tenth}": (tenth, 2 * tenth + 1),
        f"the last {tenth}": (trials - tenth, trials + 1),
    }
    lines = ["| driver's time for | " + " | ".join(f"{part}: median, 99 %" for part in parts) + " | ratio of medians |"]
    lines.append("|---" * (len(parts) + 2) + "|")
    for kind in ("report", "point", "end"):
        found = []
        for low, high in parts.values():
            found.append(sorted(1e3 * seconds for begun, seconds in times[kind] if low <= begun < high))
        if not all(found):
            lines.append(f"| {kind} | too few trials for a comparison |  |  |")
            continue
        cells = [f"{statistics.median(one):.1f} ms, {one[int(0.99 * len(one))]:.1f} ms" for one in found]
        ratio = statistics.median(found[1]) / statistics.median(found[0])
        lines.append(f"| {kind} | " + " | ".join(cells) + f" | {ratio:.2f} |")
    mean = statistics.mean(seconds for _, seconds in times["report"])
    lines.append(
        f"\nbusy with reports of {at_once} trials with epochs of {PERIOD:g} s: {100 * mean * at_once / PERIOD:.0f} %"
    )
    return "\n".join(lines)


def sizes(store: Store, name: str) -> dict[str, int]:
    """Bytes on the disk."""
    client = connect(store)
    page = client.download_artifacts(read_leaderboard(store, name).parent_id, REPORT_FILE)
    files = {path.name: path.stat().st_size for path in store.root.rglob("*.db*") if path.is_file()}
    return files | {"report": Path(page).stat().st_size}


def differences(store: Store, name: str, epochs: int) -> list[str]:
    """Trials about which MLflow and the study do not say the same; empty if they agree row by row."""
    found = []
    rows = {row.number: row for row in read_leaderboard(store, name).rows}
    for trial in require_study(store.study_url, name).get_trials(deepcopy=False):
        row = rows.pop(trial.number, None)
        if row is None:
            found.append(f"trial {trial.number} is not in MLflow")
            continue
        is_short = trial.state == TrialState.COMPLETE and row.epochs != epochs
        if row.epochs != len(trial.intermediate_values) or is_short or row.objective != trial.value:
            found.append(
                f"trial {trial.number}: MLflow {row.epochs} epochs, {row.objective}; "
                f"study {len(trial.intermediate_values)} epochs, {trial.value}"
            )
    return found + [f"trial {number} is not in the study" for number in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a new folder")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--epoch-seconds", type=float, default=0.0)
    parser.add_argument("--scheduler", default="none", help="the kind of early stopping")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--curves", type=Path, default=Path("benchmarks/curves/openclipart.parquet"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True)
    with ExitStack() as stack:
        services = stack.enter_context(postgres_services(options.work)) if options.postgres else Services()
        soak(open_store(options.work / "store", services.tracking_uri, services.study_url), options)


def soak(store: Store, options: argparse.Namespace) -> None:
    """Run the search and print the table.

    Raises:
        SystemExit: MLflow and the study do not agree.
    """
    console, requests = Console(file=io.StringIO()), count_requests()
    curves = read_curves(options.curves, options.epochs)
    times: Times = defaultdict(list)
    begun, walls = 0, []
    for trials in (options.trials // 2, options.trials):
        content = write_yaml(search_file(trials, options.epochs, "soak", options.scheduler))
        file = parse_search_file(content, "soak.yaml")
        runner = Trials(file, store, curves, options.at_once, options.epoch_seconds)
        runner.begun = begun
        started = time.monotonic()
        inputs = prepare(file, "soak.yaml", [file], store)
        summary = run_or_find(file, content, "soak.yaml", store, console, runner, inputs)
        walls.append(time.monotonic() - started)
        begun = runner.begun
        for kind, found in runner.times.items():
            times[kind] += found
        parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in summary.seconds.items())
        parts += f"; memory {psutil.Process().memory_info().rss / 1e6:.0f} MB"
        print(f"start {len(walls)}: {trials} trials in all, {walls[-1]:.0f} s: {parts}", flush=True)
    print(table(times, options.trials, options.at_once))
    scale = 1 if sys.platform == "darwin" else 1024
    print(f"memory of the driver, at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6:.0f} MB")
    print("on the disk: " + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes(store, "soak").items()))
    kinds = ", ".join(f"{name} {count}" for name, count in requests.most_common())
    print(f"requests that write to MLflow: {requests.total()} ({kinds})")
    if (seconds := seconds_to_draw(store, "soak", options.work)) is not None:
        print(f"the report's first figure is drawn after {seconds:.1f} s")
    wrong = differences(store, "soak", options.epochs)
    print("\n".join(wrong[:20]) or "MLflow and the study agree on every trial")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
