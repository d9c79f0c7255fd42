"""The MLflow store: initialised once, opened with an explicit address, never by a global setting."""

import fcntl
import logging
import os
import sqlite3
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kmcl_platform.config.store import Store
from kmcl_platform.config.trial_config import Scalar
from kmcl_platform.errors import NoAnswerError, SearchError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

VALID_ADDRESSES = "sqlite:///PATH, http(s)://HOST:PORT of an MLflow server, postgresql://…, mysql://… or mssql://…"
SERVER_SCHEMES = ("http", "https")
DATABASE_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")
ANSWER_SECONDS = 10


def prepare_store(store: Store) -> None:
    """Make the store's folder and, where MLflow's store is an SQLite file, that database; cheap when both are there.

    Any number of processes may call this at once on a store that does not exist yet.

    Raises:
        SearchError: the folder cannot be made, or the tracking address is not one that MLflow can use.
    """
    database = _sqlite_file(store)
    try:
        store.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SearchError(f"{store.root}: cannot be made: {error.strerror}; valid: a folder to write to") from None
    if database is None or _is_initialised(database):
        return
    with locked(store):
        if not _is_initialised(database):
            _initialise(store, database)


def connect(store: Store) -> "MlflowClient":
    """Open MLflow for reading and writing; prepares the store first.

    Raises:
        SearchError: as `prepare_store`, or the address is not MLflow's.
        NoAnswerError: nothing answers at the address.
    """
    prepare_store(store)
    return _open(store)


def connect_to_read(store: Store) -> "MlflowClient":
    """Open MLflow, creating nothing on disk.

    Raises:
        SearchError: the store does not exist yet, or the address is not MLflow's.
        NoAnswerError: nothing answers at the address.
    """
    database = _sqlite_file(store)
    if database is not None and not _is_initialised(database):
        raise SearchError(f"{store_name(store)}: no search has been run here; valid: a folder that `kmcl search` wrote")
    return _open(store)


def artifact_location(store: Store, experiment: str) -> str | None:
    """Where a new experiment's artifacts go: a folder of the store, or None where a server decides."""
    if urlsplit(store.tracking_uri).scheme in SERVER_SCHEMES:
        return None
    # Left to itself, a client without a server would write to ./mlruns of whatever folder it was started in.
    return (store.artifacts / experiment).as_uri()


def store_name(store: Store) -> str:
    """The store as messages name it: the folder, or the address without a password."""
    if store.is_local:
        return str(store.root)
    return _without_password(store.tracking_uri)


def find_runs(client: "MlflowClient", experiment_id: str, **tags: str) -> "list[Run]":
    """All runs of an experiment, oldest first, that carry the given `kmcl.` tags."""
    condition = " and ".join(f"tags.`kmcl.{name}` = '{value}'" for name, value in tags.items())
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], condition, order_by=["attributes.start_time ASC"], page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def write(
    client: "MlflowClient",
    run_id: str,
    *,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, Scalar] | None = None,
    tags: Mapping[str, str] | None = None,
    step: int = 0,
    time_ms: int | None = None,
) -> None:
    """One synchronous request: MLflow's asynchronous logging loses what a dying process had not sent.

    Args:
        client: connected to the store.
        run_id: the run that is written to.
        metrics: name to value.
        params: name to value; a second value for a name is refused by MLflow.
        tags: name to value.
        step: of the metrics.
        time_ms: when they were measured, in milliseconds since 1970; none: now. MLflow keeps one of two that are equal
            in step, time and value.
    """
    write_steps(client, run_id, [(step, time_ms, metrics or {})], params=params, tags=tags)


def write_steps(
    client: "MlflowClient",
    run_id: str,
    steps: Sequence[tuple[int, int | None, Mapping[str, float]]],
    *,
    params: Mapping[str, Scalar] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """As `write`, with metrics of several (step, time, metrics)."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[
            Metric(name, value, now if time_ms is None else time_ms, step)
            for step, time_ms, metrics in steps
            for name, value in metrics.items()
        ],
        params=[Param(name, str(value)) for name, value in (params or {}).items()],
        tags=[RunTag(name, value) for name, value in (tags or {}).items()],
        synchronous=True,
    )


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Hold the store's lock, which all processes on this machine share; not reentrant.

    MLflow's find-by-tag and create are two requests: without a lock two processes would both create.
    """
    with (store.root / "mlflow.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back, and so does any death of the process


def load_mlflow() -> None:
    """Import MLflow (5 s) with its telemetry, progress bars and printing of links off; later calls cost nothing."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow  # noqa: F401

    # It says of every model that it is checked against its own example.
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    # It says every step of making a database, and prints with their traceback the errors that it raises anyway.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _open(store: Store) -> "MlflowClient":
    load_mlflow()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    check_answers(store)
    try:
        client = MlflowClient(tracking_uri=store.tracking_uri, registry_uri=store.tracking_uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SearchError(f"{store_name(store)}: cannot be opened as an MLflow store: {reason}") from None
    return client


def check_answers(store: Store) -> None:
    """Refuse at once a server that is not there: MLflow's own retries would take minutes to say so.

    Raises:
        NoAnswerError: the store is a server, and it does not answer.
    """
    if urlsplit(store.tracking_uri).scheme not in SERVER_SCHEMES:
        return
    try:
        urllib.request.urlopen(_without_password(store.tracking_uri), timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        return  # any answer will do: what it means is MLflow's to say
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return  # MLflow has its own settings for certificates
        raise NoAnswerError(
            f"{store_name(store)}: no MLflow server answers: {reason}; valid: the address of one that runs"
        ) from None


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else address


def _sqlite_file(store: Store) -> Path | None:
    """The file of an SQLite store; None for any other that is valid.

    Raises:
        SearchError: the address is of no kind that is supported.
    """
    scheme, _, place = store.tracking_uri.partition("://")
    kind = scheme.partition("+")[0]
    path = place.removeprefix("/")
    if kind == "sqlite" and place.startswith("/") and path not in ("", ":memory:"):
        return Path(path).absolute()
    if kind == "sqlite" or not place or (scheme not in SERVER_SCHEMES and kind not in DATABASE_SCHEMES):
        raise SearchError(f"{store_name(store)}: not a usable MLflow address; valid: {VALID_ADDRESSES}")
    return None


def _is_initialised(database: Path) -> bool:
    """Whether the file holds MLflow's tables; takes about a millisecond and never creates the file.

    Raises:
        SearchError: the file is something else, which must not be overwritten.
    """
    if not database.exists():
        return False
    try:
        # Not `mode=ro`: what a process was writing when it was killed is taken back by the next one that opens the
        # database, and a connection that may only read refuses instead.
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=20)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise SearchError(f"{database}: not an MLflow database: {error}; valid: {VALID_ADDRESSES}") from None
    # Optuna's database has an alembic_version too, so one table proves nothing.
    if tables and not {"alembic_version", "experiments", "runs"} <= tables:
        raise SearchError(f"{database}: not an MLflow database but another one; valid: {VALID_ADDRESSES}")
    return bool(tables)


def _initialise(store: Store, database: Path) -> None:
    """Build the database under another name and move it into place: whoever sees the file sees it whole."""
    load_mlflow()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    building = database.with_name(f"{database.name}.building")
    building.unlink(missing_ok=True)
    database.parent.mkdir(parents=True, exist_ok=True)
    tables = SqlAlchemyStore(f"sqlite:///{building}", store.artifacts.as_uri())
    tables.engine.dispose()
    building.replace(database)


@contextmanager
def as_default(client: "MlflowClient") -> Iterator[None]:
    """Make a client's store MLflow's process-wide default for a while.

    The registry resolves `models:/m-…` sources through the default store, whichever client it was asked through.
    """
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
