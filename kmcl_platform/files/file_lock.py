"""A lock between processes. The operating system releases it when the process that has it dies.

It is one of Linux's open-file-description locks. Unlike with `flock`, a process can read who has the lock without
taking it, and on NFS the lock also works between machines (see `man 2 fcntl`, F_OFD_SETLK).
"""

import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_POLL_SECONDS = 0.05

# struct flock: type, whence, start, length (0: the whole file), process (0, as these locks demand).
_FLOCK = "hhqqi"


class FileLock:
    """A lock whose name is the path of a file. The file stays when the lock is released.

    >>> import tempfile
    >>> lock = FileLock(Path(tempfile.mkdtemp()) / "a.lock")
    >>> lock.acquire(), FileLock(lock.path).acquire(), lock.owner() is not None
    (True, False, True)
    >>> lock.release()
    >>> lock.owner() is None
    True
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self, *, seconds: float = 0) -> bool:
        """Take the lock.

        Args:
            seconds: how long to wait while another process has the lock. 0: not at all; `math.inf`: without limit.

        Returns:
            Whether this object has the lock now.

        Raises:
            OSError: the lock's file cannot be made.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # This mode makes the file but does not empty it: until the lock is taken, the text is that of its owner.
        file = self.path.open("ab+")
        deadline = time.monotonic() + seconds
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                file.close()
                return False
            # Not F_OFD_SETLKW: the kernel's own waiting has no time limit.
            time.sleep(_POLL_SECONDS)
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            # `owner` of other processes reads this text while the lock is held.
            file.flush()
        except OSError:
            # A full disk. The caller has no lock, so no other process may find it taken. Closing writes the text again,
            # and may fail too; the file is closed all the same.
            with suppress(OSError):
                file.close()
            raise
        self._file = file
        return True

    def release(self) -> None:
        """Release the lock. Nothing changes if this object does not have it."""
        if self._file:
            # Closing releases the lock. The file is not removed: a process that has opened it already would lock a file
            # without a name, and the next process a new one.
            self._file.close()
            self._file = None

    @contextmanager
    def hold(self, *, seconds: float = float("inf")) -> Iterator[bool]:
        """Take the lock for a block; yields whether this object has it after at most `seconds`."""
        try:
            yield self.acquire(seconds=seconds)
        finally:
            self.release()

    def owner(self) -> str | None:
        """The process that has the lock, such as "process 17 on node-1". None: the lock is free. It is not taken."""
        try:
            with self.path.open("rb") as file:
                answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK))
                if struct.unpack(_FLOCK, answer)[0] == fcntl.F_UNLCK:
                    return None
                return file.read().decode(errors="replace").strip() or "an unknown process"
        except FileNotFoundError:
            return None


def _try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _request(fcntl.F_WRLCK))
    except (BlockingIOError, PermissionError):  # POSIX allows both errors for a lock that is taken.
        return False
    return True


def _request(kind: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)
