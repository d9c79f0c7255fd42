"""The database of the study: opened with one function, and waited for while it does not answer."""

import functools
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage

from kmcl_platform.config.store import sqlite_file
from kmcl_platform.errors import ConfigError, NoAnswerError, SearchError, StoreError
from kmcl_platform.files.file_status import is_there
from kmcl_platform.messages import bound_line, mask_passwords, show_path

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

VALID_STUDIES = "sqlite:///PATH, postgresql+psycopg://USER@HOST:PORT/DATABASE or another address of SQLAlchemy"

MEMORY = "memory:"
"""The address of a study that is lost with its process: of a simulated search."""

PATIENCE_SECONDS = 600.0
"""How long a search waits for its database, for example while PostgreSQL is restarted or moved."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two attempts: doubled after each one, up to the longest."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN)
"""SQLite's error codes for a file that is not a whole database, in their lowest eight bits."""

_logger = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Reopenable(Protocol):
    """Something that reads and writes a study, and can open its database again.

    Attributes:
        url: the address of the database.
        say: prints one line for the user.
    """

    url: str
    say: Callable[[str], None]

    def reopen(self) -> None:
        """Connect to the database again, and forget what was read from it."""


_S = TypeVar("_S", bound=Reopenable)


def patient(method: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """Repeat a method whose database does not answer, for up to `PATIENCE_SECONDS`, after opening the study again.

    The method must be safe to repeat: a write may have reached the database although no answer came back.

    Raises:
        NoAnswerError: by the method, when the database stays away.
    """

    @functools.wraps(method)
    def wrapper(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            failure = find_failure(error, self.url)
            if failure is None:
                raise
        # Outside the `except` block, so that its last error has no cause: a patient method that called this one would
        # take the cause for a new failure, and wait again.
        return _repeat(self, functools.partial(method, self, *args, **kwargs), failure)

    return wrapper


def _repeat(self: Reopenable, call: Callable[[], _T], failure: "DBAPIError") -> _T:
    started, pause = time.monotonic(), _FIRST_PAUSE
    self.say(
        f"study: its database does not answer ({_reason(failure)}); trying again for up to "
        f"{PATIENCE_SECONDS / 60:.0f} minutes"
    )
    while time.monotonic() - started < PATIENCE_SECONDS:
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        try:
            # Optuna keeps what it has read of a study in memory, and its session may be broken. Both are replaced.
            self.reopen()
            result = call()
        except NoAnswerError as error:
            # From `reopen`.
            _logger.info("study: still no answer: %s", error)
        except Exception as error:
            again = find_failure(error, self.url)
            if again is None:
                raise
            failure = again
            _logger.info("study: still no answer: %s", _reason(failure))
        else:
            self.say(f"study: its database answers again, after {time.monotonic() - started:.0f} s")
            return result
    raise _no_answer(self.url, failure)


def open_storage(url: str) -> BaseStorage:
    """Open the database of studies; its tables are made if they are missing.

    `MEMORY` is a new database in this process's memory.

    Raises:
        ConfigError: the address is not one of a database.
        NoAnswerError: nothing answers at the address.
        StoreError: the SQLite file is damaged, or is no database.
    """
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    # Optuna would print a line for each trial, into the search's live table.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url == MEMORY:
        return InMemoryStorage()
    # A connection that was idle may have been closed by the server or by a firewall: it is tried before each use.
    options: dict[str, Any] = {} if url.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        return _open_tables(url, options)
    except (ArgumentError, ImportError) as error:
        # ImportError: the address names a driver that is not installed.
        reason = " ".join(str(error).split())
        raise ConfigError(f"study: got {mask_passwords(url)}: {reason}; valid: {VALID_STUDIES}") from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        failure = find_failure(error, url)
        if failure is None:
            raise _find_damage(error, url) or error from None
        raise _no_answer(url, failure) from None


def _open_tables(url: str, options: dict[str, Any]) -> RDBStorage:
    from sqlalchemy.exc import IntegrityError, OperationalError

    for _ in range(20):  # Two seconds.
        try:
            return RDBStorage(url, engine_kwargs=options)
        except (IntegrityError, OperationalError) as error:
            # Another process makes the tables of a new database at this moment.
            if not any(words in str(error) for words in ("UNIQUE constraint", "already exists")):
                raise
        time.sleep(_FIRST_PAUSE)
    return RDBStorage(url, engine_kwargs=options)


def load_study(url: str, search: str) -> optuna.Study | None:
    """A search's study as it is now; None: the database has none of that name. Nothing is created.

    Raises:
        ConfigError, NoAnswerError, StoreError: as `open_storage`.
    """
    from sqlalchemy.exc import SQLAlchemyError

    file = sqlite_file(url)
    if file is not None and not is_there(Path(file)):
        return None  # Opening it would create it.
    try:
        return optuna.load_study(study_name=search, storage=open_storage(url))
    except KeyError:
        return None  # Optuna's error for a name that the database does not have.
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise _find_damage(error, url) or error from None


def list_studies(url: str) -> list[str]:
    """The names of all studies of a database; nothing is created.

    Raises:
        ConfigError, NoAnswerError, StoreError: as `open_storage`.
    """
    file = sqlite_file(url)
    if file is not None and not is_there(Path(file)):
        return []
    return optuna.get_all_study_names(open_storage(url))


def require_study(url: str, search: str) -> optuna.Study:
    """As `load_study`, for a search that must be there.

    Raises:
        SearchError: the database has no study of that name.
    """
    study = load_study(url, search)
    if study is None:
        raise SearchError(
            f"search {search!r}: its Optuna study is not in {mask_passwords(url)}; valid: the store and the study's "
            "address with which it was run"
        )
    return study


def find_failure(error: BaseException, url: str) -> "DBAPIError | None":
    """The error of a database server that is away, restarting or overloaded; None: something else is the cause.

    Optuna wraps the errors that it meets, so the whole chain of causes is searched. SQLite has no server: its errors
    come from the disk, or from another process that holds the file.
    """
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    if url.startswith("sqlite"):
        return None
    cause: BaseException | None = error
    # A chain of contexts can be a circle.
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        # A refused connection is an OperationalError; one that breaks off is marked as invalidated.
        if isinstance(cause, OperationalError | InterfaceError) or (
            isinstance(cause, DBAPIError) and cause.connection_invalidated
        ):
            return cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None


def _find_damage(error: BaseException, url: str) -> StoreError | None:
    """The error for an SQLite file that is damaged or no database; None: something else is the cause."""
    file = sqlite_file(url)
    # Optuna wraps some of SQLAlchemy's errors, and SQLAlchemy those of SQLite.
    for cause in (error, error.__cause__):
        found = getattr(cause, "orig", None)
        if file is not None and getattr(found, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            return StoreError(
                f"{show_path(file)}: cannot be read as a study: {found}; valid: a whole copy of the file that `kmcl "
                "search` wrote, or --study-url of the database that has the study"
            )
    return None


def _no_answer(url: str, failure: "DBAPIError") -> NoAnswerError:
    return NoAnswerError(
        f"study: got {mask_passwords(url)}, whose database does not answer: {_reason(failure)}; valid: the address of "
        "one that runs; start it, and the same command goes on"
    )


def _reason(failure: "DBAPIError") -> str:
    lines = [line for line in str(failure.orig or failure).splitlines() if line.strip()]
    return bound_line(mask_passwords(" ".join(" ".join(lines[:2]).split())))[:200]
