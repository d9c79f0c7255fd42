"""The MLflow store: made once, and opened with an explicit address rather than a process-wide setting."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kmcl_platform.config.store import Store
from kmcl_platform.config.store_record import read_record
from kmcl_platform.errors import SearchError
from kmcl_platform.files.file_lock import FileLock
from kmcl_platform.tracking.database.addresses import check_answers, is_server, split_user, sqlite_file, store_name
from kmcl_platform.tracking.database.sqlite_database import initialise, is_initialised

if TYPE_CHECKING:
    from mlflow import MlflowClient


def prepare_store(store: Store) -> None:
    """Make the store's folder and, where MLflow's store is an SQLite file, the database in it.

    Cheap when both exist. Any number of processes may call this at the same time on a store that does not exist yet.

    Raises:
        SearchError: the folder cannot be made, or MLflow cannot use the tracking address.
    """
    database = sqlite_file(store)
    try:
        store.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SearchError(f"{store.root}: cannot be made: {error.strerror}; valid: a folder to write to") from None
    if database is None or is_initialised(database):
        return
    # Outside the lock: the import takes seconds, for which other processes need not wait.
    load_mlflow()
    # MLflow would make the tables itself, but if several processes do so at the same time, most of them crash.
    with locked(store):
        # Another process may have made it while this one waited for the lock.
        if not is_initialised(database):
            initialise(store, database)


def connect(store: Store) -> "MlflowClient":
    """Open MLflow for reading and writing; prepares the store first.

    Raises:
        SearchError: as `prepare_store`, or the address is not MLflow's.
        NoAnswerError: nothing answers at the address.
    """
    prepare_store(store)
    return _open(store)


def connect_to_read(store: Store) -> "MlflowClient":
    """Open MLflow without creating anything on disk.

    Raises:
        SearchError: the store does not exist yet, or the address is not MLflow's.
        NoAnswerError: nothing answers at the address.
    """
    database = sqlite_file(store)
    # MLflow's client would make a missing database.
    if database is not None and not is_initialised(database):
        if read_record(store) is not None:
            raise SearchError(
                f"{database}: missing; no search has begun here, or the record of its searches is lost; valid: a copy "
                "of this file from before, or --tracking-uri with the database of the searches"
            )
        raise SearchError(f"{store_name(store)}: no search has been run here; valid: a folder that `kmcl search` wrote")
    return _open(store)


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Hold the store's lock, which all processes on this machine share; not reentrant.

    MLflow's find-by-tag and create are two requests: without a lock two processes would both create. Search for
    existing runs inside the block only: another process may create one before this process has the lock.
    """
    with FileLock(store.root / "mlflow.lock").hold():
        yield


@contextmanager
def as_default(client: "MlflowClient") -> Iterator[None]:
    """Make a client's store MLflow's process-wide default inside the block.

    The registry resolves `models:/m-…` sources through the default store, also for a client of another store.
    """
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def load_mlflow() -> None:
    """Import MLflow (5 s the first time), with its telemetry, progress bars and printed links switched off."""
    # A setting that the user has in the environment is kept.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow  # noqa: F401

    # For every model it logs a line about the check with the model's own example.
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    # It logs each step of making a database, and a traceback of each error that it also raises.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _open(store: Store) -> "MlflowClient":
    load_mlflow()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # It takes seconds; the first request below would try for minutes.
    check_answers(store)
    address, user, password = split_user(store.tracking_uri) if is_server(store) else (store.tracking_uri, "", "")
    if user:
        # MLflow repeats its address in errors, logs and links. A password that is not in it cannot be shown by them.
        os.environ.update(MLFLOW_TRACKING_USERNAME=user, MLFLOW_TRACKING_PASSWORD=password)
    try:
        client = MlflowClient(tracking_uri=address, registry_uri=address)
        # A new client connects only when it is used. This request finds a wrong address here, where the error can name
        # the store.
        client.search_experiments(max_results=1)
    # ImportError: the driver of this kind of database is not installed.
    except (MlflowException, SQLAlchemyError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SearchError(f"{store_name(store)}: cannot be opened as an MLflow store: {reason}") from None
    return client
