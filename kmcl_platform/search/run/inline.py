"""Trials in this process, one after the other: no Ray and no second process. Breakpoints work."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import ResourceError
from kmcl_platform.search.run.driver import SearchDriver

if TYPE_CHECKING:
    from kmcl_platform.training.workers.distributed import Workers

_logger = logging.getLogger(__name__)


class InlineRunner:
    """Trains in this process."""

    draws_here = True

    def check(self, file: SearchFile) -> None:
        """See `Runner`."""
        count = file.resources.workers_per_trial
        if count != 1:
            raise ResourceError(f"resources.workers_per_trial: got {count}; valid with --inline: 1")
        # More threads than cores wait for each other: a step then takes minutes.
        cores, wanted = os.cpu_count() or 1, file.resources.cpus_per_worker
        if wanted > cores:
            raise ResourceError(
                f"resources.cpus_per_worker: got {wanted:g}; valid with --inline: at most {cores}, the cores here"
            )
        if file.resources.gpus_per_worker:
            import torch

            if not torch.cuda.is_available():
                gpus = file.resources.gpus_per_worker
                raise ResourceError(
                    f"resources.gpus_per_worker: got {gpus:g}; valid with --inline: 0, because torch finds no GPU here"
                )

    def start(self, file: SearchFile) -> int:
        """See `Runner`: nothing is started, and one trial runs at a time."""
        return 1

    def run(self, file: SearchFile, driver: SearchDriver, concurrency: int) -> None:
        """See `Runner`. The end of `budget.hours` is noticed after the epoch that runs."""
        import torch

        from kmcl_platform.search.run.trial_training import train_assignment
        from kmcl_platform.training.breaks import ToldToEnd

        workers = _this_process(file)
        threads = torch.get_num_threads()
        # As many as a worker of Ray has: the number of threads decides the order of floating-point sums.
        torch.set_num_threads(max(1, int(file.resources.cpus_per_worker)))
        interrupted = threading.Event()
        try:
            number = 0
            while not driver.must_end() and (assignment := driver.next_trial(key := f"inline {number}")) is not None:
                channel = _DriverChannel(driver, key, interrupted)
                try:
                    with _noting_interrupts(interrupted):
                        train_assignment(assignment, workers, channel)
                except ToldToEnd:
                    raise KeyboardInterrupt from None
                except Exception:
                    # The channel has the end of the trial, or the trouble with the store, from `train_assignment`. Any
                    # other error interrupts a trial: a group of Ray workers is replaced, and tries again. This process
                    # has only itself, so the error ends the trial.
                    if not channel.has_ended:
                        _logger.exception("trial %d failed", assignment["number"])
                        driver.lose(key, channel.last_error)
                number += 1
                if workers.device.type == "cuda":
                    torch.cuda.empty_cache()
        finally:
            torch.set_num_threads(threads)

    def stop(self) -> None:
        """See `Runner`: there is nothing to end."""


class _DriverChannel:
    """The driver as a trial of this process uses it."""

    connection_errors: tuple[type[Exception], ...] = ()

    def __init__(self, driver: SearchDriver, key: str, interrupted: threading.Event) -> None:
        self._driver = driver
        self._key = key
        self._interrupted = interrupted
        self.has_ended = False
        """Whether the driver has taken the trial's end, or no trial can continue."""
        self.last_error = ""

    def report(self, report: dict[str, Any]) -> bool:
        self.has_ended = self._driver.take(self._key, {"report": report})
        if self._interrupted.is_set():
            raise KeyboardInterrupt
        # If the time is spent, the trial stays open in the study, and continues when the budget is raised.
        return not self.has_ended and not self._driver.must_end()

    def saved(self) -> None:
        """Nothing waits for it: this process does not start again by itself."""

    def refuse(self, costs: dict[str, float]) -> None:
        self.has_ended = self._driver.take(self._key, {"refused": costs})

    def diverge(self, reason: str) -> None:
        self.has_ended = self._driver.take(self._key, {"diverged": reason})

    def fail(self, reason: str, *, out_of_memory: bool = False) -> None:
        self.has_ended = self._driver.take(self._key, {"failure": reason})

    def halt(self, reason: str) -> None:
        self.has_ended = self._driver.take(self._key, {"trouble": reason})

    def note_error(self, reason: str) -> None:
        self.last_error = reason


@contextmanager
def _noting_interrupts(interrupted: threading.Event) -> Iterator[None]:
    """Set an event at Ctrl-C too: Python discards an error that is raised in the callback of a weak reference."""
    before = signal.getsignal(signal.SIGINT)
    # Python allows handlers in the main thread only. A handler that Python did not set cannot be called.
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _this_process(file: SearchFile) -> "Workers":
    import torch

    from kmcl_platform.training.workers.distributed import Workers, join_workers

    if file.resources.gpus_per_worker:
        return join_workers()
    # Also where there is a GPU: a worker of Ray without a GPU does not see it.
    return Workers(rank=0, world_size=1, device=torch.device("cpu"))
