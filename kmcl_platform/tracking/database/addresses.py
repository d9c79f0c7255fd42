"""Addresses of MLflow's store: which ones can be used, how messages name them, whether a server answers."""

import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kmcl_platform.config import store as config_store
from kmcl_platform.config.store import Store
from kmcl_platform.errors import NoAnswerError, SearchError

VALID_ADDRESSES = "sqlite:///PATH, http(s)://HOST:PORT of an MLflow server, postgresql://…, mysql://… or mssql://…"
SERVER_SCHEMES = ("http", "https")
DATABASE_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")
ANSWER_SECONDS = 10


def is_server(store: Store) -> bool:
    """Whether MLflow's store is reached through a server, rather than as a database."""
    return urlsplit(store.tracking_uri).scheme in SERVER_SCHEMES


def store_name(store: Store) -> str:
    """The store as messages name it: the folder, or the address without user and password."""
    if store.is_local:
        return str(store.root)
    return split_user(store.tracking_uri)[0]


def artifact_location(store: Store, experiment: str) -> str | None:
    """Where the artifacts of a new experiment go.

    Returns:
        The address of a folder of the store. None: the server decides.
    """
    if is_server(store):
        return None
    # Without a location, a client that has no server writes to ./mlruns of the current folder.
    return (store.artifacts / experiment).as_uri()


def sqlite_file(store: Store) -> Path | None:
    """The file of an SQLite store; None for any other valid address.

    Raises:
        SearchError: the platform does not support this kind of address.
    """
    scheme, _, place = store.tracking_uri.partition("://")
    # SQLAlchemy's schemes may name a driver, as in `postgresql+psycopg`.
    kind = scheme.partition("+")[0]
    if file := config_store.sqlite_file(store.tracking_uri):
        return file
    # An SQLite address without a file is a database in memory, which no other process sees.
    if kind == "sqlite" or not place or (scheme not in SERVER_SCHEMES and kind not in DATABASE_SCHEMES):
        raise SearchError(f"{store_name(store)}: not a usable MLflow address; valid: {VALID_ADDRESSES}")
    return None


def check_answers(store: Store) -> None:
    """Refuse a server that does not answer. This takes seconds; MLflow's own retries take minutes.

    Raises:
        NoAnswerError: the store is a server, and it does not answer.
    """
    if not is_server(store):
        return
    try:
        urllib.request.urlopen(split_user(store.tracking_uri)[0], timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        return  # Any answer is enough here. MLflow's client interprets it later.
    except (OSError, ValueError, HTTPException) as error:
        # urllib wraps the system's error, such as "connection refused", in another error.
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return  # MLflow has its own settings for certificates.
        raise NoAnswerError(
            f"{store_name(store)}: no MLflow server answers: {reason}; valid: the address of a running server"
        ) from None


def split_user(address: str) -> tuple[str, str, str]:
    """An address without its user and password, then both; they are empty where the address has none."""
    parts = urlsplit(address)
    # The last `@` ends the user's part: a password may contain another one.
    named, _, place = parts.netloc.rpartition("@")
    user, _, password = named.partition(":")
    return parts._replace(netloc=place).geturl() if named else address, unquote(user), unquote(password)
