"""Errors that the store causes: a full disk, a server or a database that does not answer.

A person has to repair the store. The search ends with one line, and afterwards the same command continues it.
"""

import sqlite3
from collections.abc import Iterator

from kmcl_platform.config.store import NO_ROOM, Store, check_room, no_room
from kmcl_platform.errors import NoAnswerError, StoreError
from kmcl_platform.messages import show_path
from kmcl_platform.tracking.database.addresses import store_name

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""SQLite's error codes for a damaged file, in their lowest eight bits."""

_NOT_WRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
"""The same for a file, or its folder, that this user may not write."""


def find_trouble(error: BaseException, store: Store) -> StoreError | None:
    """The error for the user if the store caused an error. None: the store did not cause it.

    MLflow, Optuna and SQLAlchemy wrap the errors that they meet, so the whole chain of causes is searched.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import DBAPIError

    for cause in _chain(error):
        match cause:
            case StoreError():
                return cause
            case OSError(errno=number) if number in NO_ROOM:
                return no_room(store.root)
            # SQLite has several errors for a full disk; which one depends on the file that it was writing.
            case sqlite3.OperationalError() if trouble := _find_no_room(cause, store):
                return trouble
            # After the full disk, which SQLite may report as a file that it cannot open.
            case sqlite3.OperationalError() if getattr(cause, "sqlite_errorcode", 0) & 0xFF in _NOT_WRITABLE:
                return StoreError(
                    f"{show_path(store.root)}: a database of this store cannot be written: {cause}; valid: files and "
                    "folders that this user may write"
                )
            case sqlite3.DatabaseError() if getattr(cause, "sqlite_errorcode", 0) & 0xFF in DAMAGED:
                return StoreError(
                    f"{show_path(store.root)}: a database in it is damaged: {cause}; valid: a whole copy of its files "
                    "*.db and outbox/*.db"
                )
            # After its own retries, MLflow raises an error that begins so.
            case MlflowException(message=str(text)) if text.startswith("API request to "):
                return _no_answer("the MLflow server", cause, store)
            # SQLAlchemy sets this if a connection was lost, rather than a statement refused.
            case DBAPIError(connection_invalidated=True):
                return _no_answer("a database", cause, store)
    return None


def _no_answer(who: str, error: BaseException, store: Store) -> NoAnswerError:
    # The last cause is the most specific one: the system's, such as "connection refused".
    *_, root = _chain(error)
    reason = " ".join(str(root).split())[:300]
    return NoAnswerError(
        f"{store_name(store)}: {who} does not answer any more: {reason}; valid: start it, then the same command goes on"
    )


def _find_no_room(error: sqlite3.Error, store: Store) -> StoreError | None:
    if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
        return no_room(store.root)
    # SQLite may report a full disk as another error. A write of a mebibyte to the same disk then decides.
    try:
        check_room(store.root)
    except StoreError as trouble:
        return trouble
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            # Libraries wrap an error with `from` or without. Both chains may lead to an error that was already seen.
            waiting += [cause.__cause__, cause.__context__]
