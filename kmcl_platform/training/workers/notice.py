"""The notice that this process must end soon: SIGTERM, with which a cloud or a cluster takes a machine away."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SECONDS_TO_SAVE = 30.0
"""A training gets so much time to write its checkpoint. Clouds give 30 seconds or more."""

_given = threading.Event()
_training = threading.Event()


def is_given() -> bool:
    """Whether the process was told to end."""
    return _given.is_set()


def take() -> bool:
    """Take a notice. False: nothing trains here, or this is the second one; the process should end at once."""
    if not _training.is_set() or _given.is_set():
        return False
    _given.set()
    return True


def forget() -> None:
    """Forget a notice: the training has ended, and the process has not."""
    _given.clear()


@contextmanager
def training() -> Iterator[None]:
    """Inside the block a training looks at `is_given`; outside, SIGTERM ends the process at once."""
    _training.set()
    try:
        yield
    finally:
        _training.clear()


def listen() -> None:
    """Take SIGTERM as a notice while this process trains. Call it in the process's main thread."""
    before = signal.getsignal(signal.SIGTERM)

    def note(number: int, frame: FrameType | None) -> None:
        if take():
            # If the training hangs, for example because another worker has gone, the process still ends.
            timer = threading.Timer(SECONDS_TO_SAVE, os._exit, (128 + number,))
            timer.daemon = True
            timer.start()
        elif callable(before):
            before(number, frame)
        else:
            os._exit(128 + number)

    signal.signal(signal.SIGTERM, note)
