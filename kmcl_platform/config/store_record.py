"""The record of a store: a small JSON file in its root, with the store's identity and the address of its study.

It has `id`, a random name of the store, and `study`, the address of the Optuna study without user and password. The ids
distinguish two stores on one MLflow server. The address protects against a command that looks for the study in another
database, in which every trial is unknown.
"""

import json
import uuid
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import ValidationError

from kmcl_platform.config.base import Frozen
from kmcl_platform.config.store import NO_ROOM, Store, no_room, sqlite_file, sqlite_url
from kmcl_platform.errors import SearchError, StoreError
from kmcl_platform.files.atomic_write import write_atomically
from kmcl_platform.files.file_lock import FileLock
from kmcl_platform.messages import mask_passwords, show_path

RECORD_FILE = "store.json"
LOCK_FILE = "store.lock"
OWN_STUDY = "optuna.db"
"""The recorded address of a study in the store's own SQLite file. It has no folder, so that a store can be moved."""

_USUAL_PORTS = {"postgresql": "5432", "mysql": "3306", "mariadb": "3306", "mssql": "1433", "oracle": "1521"}
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_CONNECTION_OPTIONS = ("ssl", "user", "password", "passfile", "connect_timeout", "application_name")
"""Beginnings of the names of options that say how a server is reached, not which database is meant."""

LOCK_SECONDS = 60.0
"""How long to wait for another process that has the lock. It needs the lock for one small file only."""


class StoreRecord(Frozen):
    """The content of a store's record.

    Attributes:
        id: a random UUID, made once. A copy of the folder has the same one.
        study: the address of the Optuna study, without user and password; None: no search has been started here.
    """

    id: str
    study: str | None = None


def read_record(store: Store) -> StoreRecord | None:
    """Read a store's record. None: it does not exist, because the store is new or of an older version.

    Raises:
        StoreError: the file cannot be read, or it is not a record.
    """
    path = _path(store)
    try:
        return StoreRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{show_path(path)}: cannot be read: {error.strerror}; valid: a readable file") from None
    except ValidationError:
        raise StoreError(
            f"{show_path(path)}: not the record of a store; valid: the file as `kmcl search` wrote it; or delete it, "
            "and the next search writes a new one"
        ) from None


def store_id(store: Store) -> str:
    """The store's id. The record is written if it does not exist.

    Raises:
        StoreError: the record cannot be read or written.
    """
    record = read_record(store)
    return record.id if record else _update(store, None).id


def claim_study(store: Store) -> StoreRecord:
    """Record that the store's searches are in `store.study_url`. The record is written if it does not exist.

    Raises:
        SearchError: the record names another study.
        StoreError: the record cannot be read or written.
    """
    check_study(store)
    record = read_record(store)
    if record is None or record.study is None:
        record = _update(store, study_address(store))
        # Another process may have recorded its own study in the meantime.
        check_study(store)
    return record


def check_study(store: Store) -> None:
    """Refuse a study that is not the one in the store's record; a store without a record passes.

    Raises:
        SearchError: the record names another study.
        StoreError: the record cannot be read.
    """
    record = read_record(store)
    if record is None or record.study is None:
        return
    own = record.study == OWN_STUDY
    # Both in their plain form: the record may be of an older version, or changed by hand after a move.
    if (OWN_STUDY if own else plain_address(record.study)) == study_address(store):
        return
    remedy = "no --study-url and no KMCL_STUDY_URL" if own else "that address in --study-url or KMCL_STUDY_URL"
    raise SearchError(
        f"study: got {mask_passwords(store.study_url)}, but the searches of {show_path(store.root)} are in "
        f"{record.study}; valid: {remedy}; if the database was moved, write its new address into "
        f"{show_path(_path(store))}"
    )


def study_address(store: Store) -> str:
    """The address of a store's study as its record keeps it: `OWN_STUDY`, or `plain_address` of another database."""
    own = sqlite_file(store.study_url)
    # `resolve`: a path through a symbolic link is the same file.
    if own is not None and own.resolve() == (store.root / OWN_STUDY).resolve():
        return OWN_STUDY
    return plain_address(store.study_url)


def plain_address(url: str) -> str:
    """The parts of an address that decide which database it is, so that addresses can be compared.

    Driver, user, password and the options of the connection are left out. The host is in lower case, this machine is
    `localhost`, the server's usual port is left out, and an SQLite file has its whole path without symbolic links.

    >>> plain_address("postgresql+psycopg://me:secret@127.0.0.1:5432/studies?sslmode=require")
    'postgresql://localhost/studies'
    """
    file = sqlite_file(url)
    if file is not None:
        return sqlite_url(file.resolve())
    # Masked first: SQLAlchemy allows "/" and "#" in a password, at which `urlsplit` would cut the address.
    parts = urlsplit(mask_passwords(url))
    scheme = parts.scheme.partition("+")[0]
    # The port is cut out as text: `parts.port` raises an error for one that is not a number.
    host, port = parts.hostname or "", parts.netloc.rpartition("@")[2].removeprefix("[").rpartition("]")[2]
    port = port.rpartition(":")[2] if ":" in port else ""
    place = "localhost" if host in _THIS_MACHINE else f"[{host}]" if ":" in host else host
    if port and port != _USUAL_PORTS.get(scheme):
        place = f"{place}:{port}"
    # Other options can choose another database, such as a search path of PostgreSQL.
    options = [pair for pair in parse_qsl(parts.query) if not pair[0].startswith(_CONNECTION_OPTIONS)]
    return parts._replace(scheme=scheme, netloc=place, query=urlencode(sorted(options))).geturl()


def _update(store: Store, study: str | None) -> StoreRecord:
    """Complete the record under the store's lock: two processes that start at the same time agree on one id."""
    try:
        with FileLock(store.root / LOCK_FILE).hold(seconds=LOCK_SECONDS) as is_locked:
            if not is_locked:
                raise StoreError(
                    f"{show_path(store.root / LOCK_FILE)}: locked by another process for {LOCK_SECONDS:.0f} s; valid: "
                    "try again when that process has ended"
                )
            # Read again: another process may have written it while this one waited for the lock.
            before = read_record(store)
            record = StoreRecord(
                id=before.id if before else str(uuid.uuid4()), study=(before.study if before else None) or study
            )
            # Equal: another process has completed it in the meantime.
            if record != before:
                write_atomically(_path(store), json.dumps(record.model_dump(), indent=1) + "\n")
            return record
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(store.root) from None
        raise StoreError(
            f"{show_path(_path(store))}: cannot be written: {error.strerror}; valid: a store in a folder that can be "
            "written to"
        ) from None


def _path(store: Store) -> Path:
    return store.root / RECORD_FILE
