"""What does it cost when a worker is taken away in the middle of an epoch?

    python -m benchmarks.preemption --work FOLDER [--signal TERM KILL] [--kills 20] [--epochs 6] [--image-size 96]

One trial on the digits, on a real worker of Ray Train. It runs once undisturbed. Then its worker gets signals at random
moments of its training: TERM, with which a cloud gives notice, or KILL, without notice; then a checkpoint is written
after every 9 seconds of training. The table has, for each signal: the seconds of training that were done again (for
KILL those from the last checkpoint, or from the start of the training in this process if that is later; the worker's
log has it), the seconds from the notice to its checkpoint, the seconds by which each signal made the whole run longer,
and whether all numbers are those of the undisturbed run. Aim: at most 10 seconds done again for each signal, and equal
numbers.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from kmcl_platform.config.search_parts import Resources
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.search.cluster.ray_session import start_ray, stop_ray
from kmcl_platform.search.run.on_ray.worker_group import WorkerGroup

CHECKPOINT_SECONDS = 9.0
"""Of training between two checkpoints, for workers that go without notice."""

WORKER = "ray::RayTrainWorker"


def train(group: WorkerGroup, config: TrialConfig, folder: Path, minutes: float | None) -> list[dict[str, Any]]:
    """Train once; returns the reports."""
    group.begin(
        {
            "number": 0,
            "config": config.model_dump(),
            "checkpoints": str(folder),
            "data_dir": str(folder.parent / "data"),
            "features_dir": str(folder.parent / "features"),
            "working_dir": str(Path.cwd()),
            "checkpoint_minutes": minutes,
        }
    )
    reports: list[dict[str, Any]] = []
    while len(reports) < config.num_epochs:
        message = group.next_message()
        if "report" not in message:
            raise RuntimeError(f"the trial ended: {message}")
        reports.append(message["report"])
        print(f"epoch {len(reports)}: {message['report']['seconds']:.1f} s", flush=True)
    return reports


def training_start(process: int) -> float | None:
    """When a worker's training began or went on, in seconds since 1970. None: it has not yet."""
    # Ray's default folder, which `start_ray` does not change.
    for log in Path("/tmp/ray/session_latest/logs").glob(f"worker-*-{process}.err"):
        for line in reversed(log.read_text().splitlines()):
            if " continues after epoch " in line or line.endswith(": begins"):
                return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()
    return None


class Taker(threading.Thread):
    """Sends signals to the worker at random moments, until the trial has ended or all are sent."""

    def __init__(self, folder: Path, number: signal.Signals, kills: int, spacing: float) -> None:
        super().__init__(daemon=True)
        self.folder, self.number, self.kills, self.spacing = folder, number, kills, spacing
        self.ended = threading.Event()
        self.done_again: list[float] = []
        self.to_checkpoint: list[float] = []
        self._random = random.Random(0)

    def run(self) -> None:
        former = 0
        while len(self.done_again) < self.kills and not self.ended.is_set():
            worker = self._find_worker(former)
            if worker is None or not self._wait_for_training(worker):
                continue
            if self.ended.wait(2 * self.spacing * self._random.random()):
                continue
            former, now = worker.pid, time.time()
            checkpoints = self._checkpoints()
            began = max([training_start(worker.pid) or now, *checkpoints.values()])
            os.kill(worker.pid, self.number)
            if self.number == signal.SIGKILL:
                self.done_again.append(now - began)
            else:
                self._wait_for_notice(worker, checkpoints, now)

    def _wait_for_training(self, worker: psutil.Process) -> bool:
        """Before it trains, a process has nothing to lose. False: it has ended without."""
        while training_start(worker.pid) is None:
            if self.ended.wait(0.1) or not worker.is_running():
                return False
        return True

    def _wait_for_notice(self, worker: psutil.Process, before: dict[str, float], sent: float) -> None:
        """The worker writes a checkpoint and leaves; what it trains between the two is done again."""
        last, gone = sent, time.time()
        while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE and not self.ended.wait(0.05):
            new = {name: at for name, at in self._checkpoints().items() if before.get(name) != at}
            last, gone = max([last, *new.values()]), time.time()
        self.to_checkpoint.append(last - sent)
        # A training that leaves at once does nothing after its checkpoint, but the process lives on for a moment.
        self.done_again.append(0.0 if last > sent else gone - sent)

    def _find_worker(self, former: int) -> psutil.Process | None:
        for process in psutil.Process().children(recursive=True):
            try:
                if process.pid != former and process.cmdline()[:1] and process.cmdline()[0].startswith(WORKER):
                    return process
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.1)
        return None

    def _checkpoints(self) -> dict[str, float]:
        found = {}
        for path in [*self.folder.glob("epoch-*"), *self.folder.glob("part-*")]:
            try:
                found[path.name] = path.stat().st_mtime
            except FileNotFoundError:
                continue
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--signal", nargs="+", choices=["TERM", "KILL"], default=["TERM", "KILL"])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--image-size", type=int, default=96)
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    os.environ.pop("RAY_ADDRESS", None)
    config = TrialConfig().with_values(
        {
            "data.image_size": options.image_size,
            "data.batch_size": 32,
            "data.augmentation": "timm",
            "model.backbone": "resnet10t",
            "num_epochs": options.epochs,
        }
    )
    lines = [
        "| signal | sent | done again: median, most | notice to checkpoint: median | longer by, each | equal numbers |",
        "|---" * 6 + "|",
    ]
    start_ray(None)
    # A group that is lost 20 times is not an error here.
    group = WorkerGroup(Resources(), max_starts=10 * options.kills)
    try:
        shutil.rmtree(work / "undisturbed", ignore_errors=True)
        started = time.monotonic()
        undisturbed = train(group, config, work / "undisturbed", None)
        whole = time.monotonic() - started
        for word in options.signal:
            folder = work / word
            shutil.rmtree(folder, ignore_errors=True)
            taker = Taker(folder, signal.Signals[f"SIG{word}"], options.kills, 0.9 * whole / options.kills)
            taker.start()
            started = time.monotonic()
            minutes = CHECKPOINT_SECONDS / 60 if word == "KILL" else None
            disturbed = train(group, config, folder, minutes)
            wall = time.monotonic() - started
            taker.ended.set()
            taker.join()
            sent, again = len(taker.done_again), taker.done_again or [0.0]
            notice = f"{statistics.median(taker.to_checkpoint):.2f} s" if taker.to_checkpoint else "no notice"
            equal = [one["metrics"] for one in undisturbed] == [one["metrics"] for one in disturbed]
            lines.append(
                f"| {word} | {sent} | {statistics.median(again):.1f} s, {max(again):.1f} s | {notice} | "
                f"{(wall - whole) / max(sent, 1):.1f} s | {'yes' if equal else 'NO'} |"
            )
            print(json.dumps({"signal": word, "again": again, "notice": taker.to_checkpoint}), flush=True)
    finally:
        group.close()
        stop_ray()
    print(f"\nepochs of {statistics.median(one['seconds'] for one in undisturbed):.0f} s\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
