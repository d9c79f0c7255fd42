"""Ends a search whose Ray is gone: the process would hang in a call of Ray, and Ray would abort it after a minute."""

import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType

_CHECK_SECONDS = 1.0
_MISSES = 3
"""Refused connections one after another after which Ray is gone."""
_ORDERLY_SECONDS = 15.0
"""How long the search may then take to end by itself: it may be about to."""

EXIT_INTERRUPTED = 130
"""The exit code of a search that was stopped."""


class RayWatch:
    """In its block, a thread asks Ray's head for a connection.

    Ray is gone if its processes were killed: by SIGTERM to a whole process group or control group (`timeout`, systemd,
    a batch system), or for want of memory. Everything that ended is in the study and on the disk by then, and open
    trials go on from their checkpoints. So the process may end at any moment.
    """

    def __init__(self, address: str, say: Callable[[str], None], end: Callable[[int], object] = os._exit) -> None:
        """
        Args:
            address: HOST:PORT of Ray's head.
            say: prints a line.
            end: ends the process with an exit code.
        """
        host, _, port = address.rpartition(":")
        self._place = (host.strip("[]"), int(port))
        self._say = say
        self._end = end
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray watch", daemon=True)

    def __enter__(self) -> "RayWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._left.set()

    def _run(self) -> None:
        misses = 0
        while misses < _MISSES:
            if self._left.wait(_CHECK_SECONDS):
                return
            misses = 0 if self._answers() else misses + 1
        if self._left.wait(_ORDERLY_SECONDS):
            return
        self._say("Ray's processes have ended, so the search stops; nothing is lost. To go on: the same command")
        self._end(EXIT_INTERRUPTED)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(self._place, timeout=10):
                return True
        except ConnectionRefusedError:
            return False
        except OSError:
            # Slow or unreachable: Ray itself tells a break of the network from the end of the head.
            return True
