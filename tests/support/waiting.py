"""Free ports, and waiting for a condition or a server instead of for a fixed time."""

import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")

POLL_SECONDS = 0.02


def free_port() -> int:
    """A TCP port of the loopback interface that no process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until(
    condition: Callable[[], Found],
    *,
    seconds: float = 300,
    process: "subprocess.Popen[bytes] | subprocess.Popen[str] | None" = None,
    log: Path | None = None,
) -> Found:
    """Wait until `condition` returns a true value, and return it.

    Args:
        condition: is called every two hundredths of a second.
        seconds: the longest time to wait.
        process: the process that makes the condition true. The wait ends when it has ended.
        log: output of the process, for the message.

    Raises:
        AssertionError: the condition did not become true.
    """
    deadline = time.monotonic() + seconds
    while True:
        # The order matters: a process may make the condition true and end.
        ended = process is not None and process.poll() is not None
        if found := condition():
            return found
        said = log.read_text(errors="replace") if log and log.exists() else ""
        assert not ended, f"the process ended before the condition was true\n{said}"
        assert time.monotonic() < deadline, f"the condition was not true after {seconds} s\n{said}"
        time.sleep(POLL_SECONDS)


def answers(url: str) -> bool:
    """Whether an HTTP server answers a request with success."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def listens(port: int) -> bool:
    """Whether a process of this machine listens on a port of the loopback interface."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for_next_timestamp(path: Path) -> None:
    """Wait until a file that is written now gets a later time than one that was written before the call.

    The clock of file systems moves in steps of some milliseconds.

    Args:
        path: a file that may be written.
    """
    path.touch()
    before = path.stat().st_mtime_ns

    def is_later() -> bool:
        path.touch()
        return path.stat().st_mtime_ns > before

    wait_until(is_later, seconds=10)
