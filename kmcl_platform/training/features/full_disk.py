"""A full disk while something is written for all trials of a store."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kmcl_platform.config.store import NO_ROOM, no_room


@contextmanager
def full_disk_is_store_error(folder: Path) -> Iterator[None]:
    """Turn the system's error for a full disk into the store's, which stops the search and not the trial.

    Raises:
        StoreError: the disk of the folder is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(folder) from error
        raise
