"""find_trouble finds the errors that the store causes, also if libraries wrap them, and no others."""

import errno
import socket
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy

from kmcl_platform.config.store import Store, check_room, open_store
from kmcl_platform.errors import StoreError
from kmcl_platform.tracking.database import load_mlflow
from kmcl_platform.tracking.database.store_errors import find_trouble
from kmcl_platform.tracking.writing.outbox import Outbox, outbox_path


@pytest.fixture
def place(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def caught_from(cause: BaseException) -> BaseException:
    try:
        try:
            raise cause
        except BaseException:
            # As in Tune: the error that it raises has its cause in `__context__` only.
            raise RuntimeError("wrapped")  # noqa: B904
    except RuntimeError as error:
        return error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_found(place: Store, number: int) -> None:
    trouble = find_trouble(caught_from(OSError(number, "full")), place)
    assert str(trouble) == f"no space left in {place.root}; valid: make room, then the same command goes on"


def test_a_database_that_cannot_grow_is_a_full_disk(place: Store) -> None:
    engine = sqlalchemy.create_engine(place.study_url)
    with engine.connect() as connection, pytest.raises(sqlalchemy.exc.OperationalError) as caught:
        connection.execute(sqlalchemy.text("CREATE TABLE t (x)"))
        connection.execute(sqlalchemy.text("PRAGMA max_page_count = 1"))
        connection.execute(sqlalchemy.text("INSERT INTO t VALUES (randomblob(100000))"))
    assert "no space left" in str(find_trouble(caught_from(caught.value), place))


def test_another_database_error_is_not_an_error_of_the_store(place: Store) -> None:
    with pytest.raises(sqlite3.OperationalError) as caught:
        sqlite3.connect(place.root / "x.db").execute("SELECT * FROM missing")
    assert find_trouble(caught_from(caught.value), place) is None


def test_a_server_that_is_gone_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_mlflow()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(MlflowException) as caught:
            MlflowClient(address).get_run("x")
    trouble = find_trouble(caught_from(caught.value), open_store(tmp_path, tracking_uri=address))
    assert str(trouble) == (
        f"{address}: the MLflow server does not answer any more: [Errno {errno.ECONNREFUSED}] Connection refused; "
        "valid: start it, then the same command goes on"
    )


def test_other_errors_are_not_errors_of_the_store(place: Store) -> None:
    for error in (ValueError("x"), ConnectionError("Ray"), FileNotFoundError(errno.ENOENT, "x")):
        assert find_trouble(caught_from(error), place) is None


def test_a_folder_with_room_is_left_as_it_was(tmp_path: Path) -> None:
    check_room(tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file: cannot be written to: .*; valid: a folder to write to"):
        check_room(tmp_path / "file")


def test_a_damaged_outbox_is_trouble_of_the_store(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    file = outbox_path(store, "s")
    file.parent.mkdir()
    file.write_bytes(b"garbage" * 1000)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        Outbox(store, "s")
    assert str(find_trouble(caught.value, store)).startswith(f"{tmp_path}: a database in it is damaged: file is not a ")


def test_a_database_that_cannot_be_written_is_trouble_of_the_store(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    sqlite3.connect(tmp_path / "mlflow.db").close()
    # This works for root too, who may write files without permission to write.
    database = sqlite3.connect(f"file:{tmp_path / 'mlflow.db'}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.execute("CREATE TABLE t (x)")
    assert str(find_trouble(caught_from(caught.value), store)) == (
        f"{tmp_path}: a database of this store cannot be written: attempt to write a readonly database; valid: files and "
        "folders that this user may write"
    )
    with pytest.raises(sqlite3.OperationalError) as caught:
        sqlite3.connect(tmp_path / "no_folder" / "mlflow.db")
    assert "cannot be written: unable to open" in str(find_trouble(caught_from(caught.value), store))
