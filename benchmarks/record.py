"""The cost of recording a search: how long trials wait for the record, and how much CPU time it takes.

    python -m benchmarks.record [--write]

Runs the search of the demo and measures:

- waiting: wall time in the recorder's methods, which is all that a trial waits for;
- writing: CPU time of the thread that writes to MLflow;
- drawing: CPU time of the process that draws, which has the lowest priority.
"""

import argparse
import io
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from kmcl_platform.config.store import Store, open_store
from kmcl_platform.tracking.figures import figure_process as figures_module
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.tracking.writing import recorder as recorder_module
from kmcl_platform.tracking.writing.recorder import Recorder
from kmcl_platform.tracking.writing.writer import Writer

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "record-cost.md"
MINUTE = 60.0


class Costs:
    """Seconds of the search's record, by purpose."""

    def __init__(self) -> None:
        self.waiting: list[float] = []
        self.epochs: list[float] = []
        self.writing = 0.0
        self.drawing = 0.0

    def timed(self, method: Callable[..., Any], into: list[list[float]]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                for times in into:
                    times.append(time.perf_counter() - started)

        return wrapper


def watch(costs: Costs) -> None:
    """Measure the time of the methods that a search calls."""
    # The classes themselves are replaced: the search builds its own recorder.
    for name in ("begin_trial", "queue_scores", "end_trial", "log_progress"):
        setattr(Recorder, name, costs.timed(getattr(Recorder, name), [costs.waiting]))
    Recorder.log_epochs = costs.timed(Recorder.log_epochs, [costs.waiting, costs.epochs])  # type: ignore[method-assign]

    class Watched(Writer):
        def _run(self) -> None:
            super()._run()
            # In the thread itself, at its end: the clock counts the CPU time of this thread alone.
            costs.writing += time.thread_time()

    recorder_module.Writer = Watched  # type: ignore[attr-defined]

    class Drawing(figures_module.FigureProcess):
        def finish(self) -> None:
            if self._process is None:  # No drawing, or `close` after `finish`.
                super().finish()
                return
            # The CPU time of a process cannot be read after its end, so it is read again and again until then.
            stop = threading.Event()
            thread = threading.Thread(target=self._follow, args=(psutil.Process(self._process.pid), stop))
            thread.start()
            super().finish()
            stop.set()
            thread.join()

        @staticmethod
        def _follow(process: psutil.Process, stop: threading.Event) -> None:
            # At most 0.02 s of the process's last work is missed.
            while not stop.wait(0.02):
                try:
                    times = process.cpu_times()
                except psutil.Error:
                    return
                costs.drawing = max(costs.drawing, times.user + times.system)

    recorder_module.FigureProcess = Drawing  # type: ignore[attr-defined]


def run(store: Store, costs: Costs) -> tuple[float, int, float]:
    """Run the search of the demo.

    Returns:
        Wall seconds from the first trial to the last, number of epochs, and seconds of training and evaluation.
    """
    from kmcl_platform.search.run.run_search import run_search

    watch(costs)
    (summary,) = run_search(ROOT / "search_spaces" / "digits.yaml", store, Console(file=io.StringIO()))
    rows = read_leaderboard(store, "digits").rows
    return summary.seconds["trials"], sum(row.epochs for row in rows), sum(row.wall_seconds for row in rows)


def main() -> None:
    """Measure, print, and with `--write` write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    # Before the measurement, which takes minutes: a wrong option is refused without it.
    is_written = parser.parse_args().write
    costs = Costs()
    with tempfile.TemporaryDirectory() as folder:
        seconds, epochs, trained = run(open_store(Path(folder) / "store"), costs)
    waiting, per_epoch = sum(costs.waiting), sum(costs.epochs) / len(costs.epochs)
    cores = psutil.cpu_count() or 1
    lines = [
        "# The cost of the record",
        "",
        "`python -m benchmarks.record --write` writes this page. It runs the search of the demo and measures the cost "
        f"of its record. This run trained {epochs} epochs in {trained:.0f} s on {cores} CPU cores. With the start of "
        f"the workers it took {seconds:.0f} s.",
        "",
        "| cost | seconds | share of the training time | bound |",
        "|---|---|---|---|",
        f"| waiting of trials for the record | {waiting:.2f} | {waiting / trained:.2%} | 3 % |",
        f"| CPU time of writing to MLflow | {costs.writing:.2f} "
        f"| {costs.writing / trained / cores:.2%} of {cores} cores | |",
        f"| CPU time of drawing, at the lowest priority | {costs.drawing:.2f} "
        f"| {costs.drawing / trained / cores:.2%} of {cores} cores | |",
        "",
        f"An epoch waits {1000 * per_epoch:.1f} ms for its record. That is {per_epoch / MINUTE:.3%} of an epoch that "
        "takes one minute. The bound is 0.1 %.",
        "",
    ]
    print("\n".join(lines))
    if is_written:
        PAGE.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
