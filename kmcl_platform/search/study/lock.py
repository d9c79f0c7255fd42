"""One driver for one search: two would hand out the same interrupted trials twice."""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from kmcl_platform.errors import SearchError


class SearchLock:
    """A lock that the operating system releases when its holder dies."""

    def __init__(self, root: Path, search: str) -> None:
        self._path = root / "locks" / f"{search}.lock"
        self._search = search
        self._file: IO[str] | None = None

    def __enter__(self) -> "SearchLock":
        """Take the lock.

        Raises:
            SearchError: another process holds it; the message names it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "an unknown process"
            file.close()
            raise SearchError(
                f"search {self._search!r} is already running ({owner}); valid: wait for it, or stop it first"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        self._file = file
        return self

    def owner(self) -> str | None:
        """Who holds the lock, or none; takes nothing."""
        try:
            with self._path.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return None
        except BlockingIOError:
            return self._path.read_text().strip() or "an unknown process"
        return None

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()
            self._file = None
