"""Where the trials of a search are trained: on Ray (`on_ray/`), or in this process (`inline.py`)."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.search.run.driver import SearchDriver
from kmcl_platform.training.workers import notice


class Runner(Protocol):
    """Trains the trials of a search.

    Attributes:
        draws_here: whether figures are drawn in this process too.
    """

    draws_here: bool

    def check(self, file: SearchFile) -> None:
        """Check what can be checked before anything starts.

        Raises:
            ClusterError, ResourceError: the search cannot run here.
        """

    def start(self, file: SearchFile) -> int:
        """Start what the trials need; returns the number of trials that run at the same time.

        Raises:
            ClusterError: the cluster cannot be reached, or Ray cannot be started.
            ResourceError: a trial does not fit.
        """

    def run(self, file: SearchFile, driver: SearchDriver, concurrency: int) -> None:
        """Train trials until the driver has no more, or says that the search must end, or Ctrl-C."""

    def stop(self) -> None:
        """End what `start` has started; it may have failed."""


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Inside the block SIGTERM ends a search as Ctrl-C does: a job that is stopped, or a machine that shuts down.

    After the block, both signals do what they did before: a notebook or a program goes on after its search, and Tune
    leaves a handler of its own.
    """
    # Python allows handlers in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        notice.forget()
        for number, handler in before.items():
            # None: a handler that Python did not set, and cannot set again.
            if handler is not None:
                signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    # A training in this process first writes a checkpoint.
    if notice.take():
        return
    # In a shell script, a command with `&` ignores SIGINT: without a handler of it, SIGTERM would be lost.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)
