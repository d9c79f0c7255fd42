"""Copies of a finished store, for tests that change it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path


def copy_store(source: Path, target: Path) -> None:
    """Copy a store so that the copy works at its new place and the original stays as it is.

    Checkpoints become hard links: the platform replaces and deletes their files, but never writes into one. SQLite
    databases are copied by SQLite itself, and every address of the old place in MLflow's database is rewritten.

    Args:
        source: the store; no process may be writing to it.
        target: a folder that does not exist yet.
    """
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        new = target / path.relative_to(source)
        if path.is_dir():
            new.mkdir(exist_ok=True)
        elif path.suffix == ".db":
            _copy_database(path, new)
            _rewrite(new, str(source), str(target))
        elif path.relative_to(source).parts[0] == "checkpoints":
            os.link(path, new)
        elif path.suffix not in (".db-wal", ".db-shm", ".db-journal"):
            content = path.read_bytes()
            # The store's own records, such as the address of its study, may hold the place too.
            if path.suffix in (".json", ".yaml"):
                content = content.replace(os.fsencode(source), os.fsencode(target))
            new.write_bytes(content)


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _rewrite(database: Path, old: str, new: str) -> None:
    """Replace a text wherever it stands in a database."""
    with closing(sqlite3.connect(database)) as connection, connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for column in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
                name, kind = column[1], column[2].upper()
                if "CHAR" in kind or "TEXT" in kind or "JSON" in kind:
                    change = f'UPDATE "{table}" SET "{name}" = replace("{name}", ?, ?) WHERE instr("{name}", ?)'
                    connection.execute(change, (old, new, old))
