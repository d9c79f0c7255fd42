"""Outbox: writes to MLflow, on disk until MLflow has them.

A search must not wait for MLflow, and no write may be lost when the driver dies or a server is away. So every write is
first an entry of this file, which takes a few milliseconds, and goes from there to MLflow.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmcl_platform.config.store import Store

# AUTOINCREMENT never gives a number twice, even after a deletion. An entry that was removed cannot be confused with a
# later one.
_TABLE = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, time_ms INTEGER NOT NULL, content TEXT NOT NULL
)
"""


@dataclass(frozen=True)
class Entry:
    """One write.

    Attributes:
        place: its number. Writes are made in the order of these numbers.
        kind: which write it is (tracking/writing/writer.py).
        time_ms: when it was added, in milliseconds since 1970.
        content: its arguments, as JSON has them.
    """

    place: int
    kind: str
    time_ms: int
    content: dict[str, Any]


class Outbox:
    """The writes of one search that MLflow does not have yet. One driver at a time has it open, with its threads."""

    def __init__(self, store: Store, search: str) -> None:
        """Open the file, with the entries that an earlier driver left in it.

        Raises:
            OSError, sqlite3.Error: the file cannot be made, or the disk is full.
        """
        path = outbox_path(store, search)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        # The driver's thread adds and the writer's thread removes; `_lock` lets one of them work at a time. Without an
        # isolation level, transactions begin and end where this class says so.
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=20)
        self._connection.execute(_TABLE)

    def add(self, kind: str, content: dict[str, Any]) -> None:
        """Add a write; it is on disk when this returns.

        Raises:
            sqlite3.Error: the disk is full.
        """
        self.add_all(kind, [content])

    def add_all(self, kind: str, contents: Sequence[dict[str, Any]]) -> None:
        """Add several writes of one kind, in their order; all of them are on disk when this returns.

        Raises:
            sqlite3.Error: the disk is full. None of them is added.
        """
        now = int(time.time() * 1000)
        with self._lock, self._transaction():
            self._connection.executemany(
                "INSERT INTO entries (kind, time_ms, content) VALUES (?, ?, ?)",
                [(kind, now, json.dumps(content)) for content in contents],
            )

    def peek(self, limit: int) -> list[Entry]:
        """The oldest entries, at most `limit`; they stay in the file."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, kind, time_ms, content FROM entries ORDER BY id LIMIT ?", (limit,)
            ).fetchall()
        return [Entry(place, kind, time_ms, json.loads(content)) for place, kind, time_ms, content in rows]

    def remove(self, entries: Sequence[Entry]) -> None:
        """Delete entries that MLflow has."""
        with self._lock, self._transaction():
            self._connection.executemany("DELETE FROM entries WHERE id = ?", [(entry.place,) for entry in entries])

    def __len__(self) -> int:
        """Number of waiting writes."""
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM entries").fetchone()[0])

    def close(self) -> None:
        """Close the file; its entries stay."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One wait for the disk for all statements, instead of one for each; after an error none of them counts."""
        self._connection.execute("BEGIN")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # SQLite ends the transaction by itself after some errors, such as a full disk.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def outbox_path(store: Store, search: str) -> Path:
    """The file of a search's outbox."""
    return store.root / "outbox" / f"{search}.db"
