"""The record of a store: a small JSON file in its root that says which store this is and where its study lives.

It holds `id`, a random name of the store, and `study`, the address of the Optuna study without user and password. Two
stores on one MLflow server are told apart by their ids. The address guards against a command that looks for the study
in another database: without the study, every trial looks unknown.
"""

import json
import uuid
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from kmcl_platform.config.base import Frozen
from kmcl_platform.config.store import NO_ROOM, Store, no_room
from kmcl_platform.errors import SearchError, StoreError
from kmcl_platform.files.atomic_write import write_atomically
from kmcl_platform.files.file_lock import FileLock
from kmcl_platform.messages import mask_passwords, show_path

RECORD_FILE = "store.json"
LOCK_FILE = "store.lock"
OWN_STUDY = "optuna.db"
"""The recorded address of a study in the store's own SQLite file. It has no folder, so that a store can be moved."""

LOCK_SECONDS = 60.0


class StoreRecord(Frozen):
    """What a store knows about itself.

    Attributes:
        id: a random UUID, made once; a copy of the folder has the same one.
        study: the address of the Optuna study, without user and password; None: no search has been started here.
    """

    id: str
    study: str | None = None


def read_record(store: Store) -> StoreRecord | None:
    """Read a store's record; None: there is none, because the store is new or of an older version.

    Raises:
        StoreError: the file cannot be read, or it is no record.
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
    """The store's id; the record is written if there is none.

    Raises:
        StoreError: the record cannot be read or written.
    """
    record = read_record(store)
    return record.id if record else _update(store, None).id


def claim_study(store: Store) -> StoreRecord:
    """Record that the store's searches are kept in `store.study_url`; the record is written if there is none.

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
    if record is None or record.study is None or record.study == study_address(store):
        return
    own = record.study == OWN_STUDY
    remedy = "no --study-url and no KMCL_STUDY_URL" if own else "that address in --study-url or KMCL_STUDY_URL"
    raise SearchError(
        f"study: got {mask_passwords(store.study_url)}, but the searches of {show_path(store.root)} are in "
        f"{record.study}; valid: {remedy}; if the database was moved, write its new address into "
        f"{show_path(_path(store))}"
    )


def study_address(store: Store) -> str:
    """The address of a store's study as its record keeps it: without driver, user and password."""
    if store.has_own_study:
        return OWN_STUDY
    # Masked first: SQLAlchemy allows "/" and "#" in a password, at which `urlsplit` would cut the address.
    parts = urlsplit(mask_passwords(store.study_url))
    scheme = parts.scheme.partition("+")[0]
    if scheme == "sqlite":
        return f"sqlite:///{Path(parts.path[1:]).absolute()}"
    return parts._replace(scheme=scheme, netloc=parts.netloc.rpartition("@")[2]).geturl()


def _update(store: Store, study: str | None) -> StoreRecord:
    """Complete the record under the store's lock: two processes that start at the same time agree on one id."""
    try:
        with FileLock(store.root / LOCK_FILE).hold(seconds=LOCK_SECONDS) as held:
            if not held:
                raise StoreError(
                    f"{show_path(store.root / LOCK_FILE)}: held by another process for {LOCK_SECONDS:.0f} s; valid: "
                    "try again when that process has ended"
                )
            before = read_record(store)
            record = StoreRecord(
                id=before.id if before else str(uuid.uuid4()), study=(before.study if before else None) or study
            )
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
