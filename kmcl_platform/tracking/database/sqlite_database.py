"""MLflow's SQLite database: find out whether a file is one, or make it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from kmcl_platform.config.store import Store, sqlite_url
from kmcl_platform.errors import SearchError
from kmcl_platform.files.atomic_write import atomic_file
from kmcl_platform.files.file_status import is_there
from kmcl_platform.tracking.database.addresses import VALID_ADDRESSES

_WAIT_SECONDS = 20
"""How long a connection waits for another process's transaction."""


def is_initialised(database: Path) -> bool:
    """Whether a file holds MLflow's tables. Takes about a millisecond and never creates the file.

    Raises:
        SearchError: the file holds something else, which must not be overwritten.
    """
    if not is_there(database):
        return False
    try:
        # Not `mode=ro`: a process that was killed may leave half a transaction. The next connection must roll it
        # back, and a connection that may only read refuses to do so.
        address = f"{database.as_uri()}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=_WAIT_SECONDS)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise SearchError(f"{database}: not an MLflow database: {error}; valid: {VALID_ADDRESSES}") from None
    # Optuna's database has an alembic_version too, so this table alone proves nothing.
    if tables and not {"alembic_version", "experiments", "runs"} <= tables:
        raise SearchError(f"{database}: not an MLflow database but another one; valid: {VALID_ADDRESSES}")
    # An empty file, which SQLite makes when it opens a new database, has nothing to lose and is made again.
    return bool(tables)


def initialise(store: Store, database: Path) -> None:
    """Make MLflow's database under another name, then rename it: no process ever sees half of it."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(database) as draft:
        tables = SqlAlchemyStore(sqlite_url(draft), store.artifacts.as_uri())
        # SQLite finds its journal by the file's name, so no connection may be open when the file gets another name.
        tables.engine.dispose()
