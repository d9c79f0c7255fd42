"""One process at a time works on a search: two drivers would hand out the same interrupted trials twice."""

from pathlib import Path

from kmcl_platform.errors import SearchError, StoreError
from kmcl_platform.files.file_lock import FileLock
from kmcl_platform.messages import show_path


class SearchLock:
    """The lock of one search; the operating system releases it when its holder dies.

    Args:
        root: the store's folder.
        search: the search's name.
    """

    def __init__(self, root: Path, search: str) -> None:
        self._lock = FileLock(root / "locks" / f"{search}.lock")
        self._search = search

    def __enter__(self) -> "SearchLock":
        """Take the lock.

        Raises:
            SearchError: another process has it; the message names the process.
            StoreError: the lock's file cannot be made.
        """
        if not self.acquire():
            # The holder may end between the two calls.
            owner = self.owner() or "a process that has just ended"
            raise SearchError(
                f"search {self._search!r} is in use ({owner}); valid: wait until that process ends, or stop it first"
            )
        return self

    def acquire(self) -> bool:
        """Take the lock if it is free.

        Returns:
            Whether this object has the lock now.

        Raises:
            StoreError: the lock's file cannot be made.
        """
        try:
            return self._lock.acquire()
        except OSError as error:
            raise StoreError(
                f"{show_path(self._lock.path)}: cannot be written: {error.strerror}; valid: a store that can be written"
            ) from None

    def owner(self) -> str | None:
        """The process that has the lock, such as "process 17 on node-1"; None: it is free. The lock is not taken.

        Raises:
            StoreError: the lock's file cannot be read.
        """
        try:
            return self._lock.owner()
        except OSError as error:
            raise StoreError(
                f"{show_path(self._lock.path)}: cannot be read: {error.strerror}; valid: a store that can be read"
            ) from None

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def __exit__(self, *_: object) -> None:
        self.release()
