import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kmcl_platform.config.store import Store, open_store
from kmcl_platform.config.store_record import store_id
from kmcl_platform.errors import SearchError, StoreError
from kmcl_platform.tracking.database import (
    artifact_location,
    connect,
    connect_to_read,
    prepare_store,
    store_name,
)


def test_two_processes_may_prepare_a_new_store_at_the_same_time(fresh_start: Any) -> None:
    assert fresh_start.exit_codes == [0, 0], fresh_start.errors
    assert {path.name for path in fresh_start.root.iterdir()} == {"mlflow.db", "mlflow.lock"}
    assert [found.name for found in connect_to_read(open_store(fresh_start.root)).search_experiments()] == ["Default"]


def test_a_prepared_store_is_prepared_again_quickly_and_stays_as_it_is(store: Store) -> None:
    before = (store.root / "mlflow.db").read_bytes()
    start = time.process_time()
    prepare_store(store)
    assert time.process_time() - start < 0.05
    assert (store.root / "mlflow.db").read_bytes() == before


def test_another_database_is_refused_and_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    before = path.read_bytes()
    with pytest.raises(SearchError, match=r"optuna\.db: not an MLflow database but another one; valid: "):
        prepare_store(open_store(tmp_path, tracking_uri=f"sqlite:///{path}"))
    assert path.read_bytes() == before


KILLED_IN_A_TRANSACTION = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("PRAGMA cache_spill = 1")
connection.execute("BEGIN IMMEDIATE")
for number in range(2000):
    connection.execute("INSERT INTO experiment_tags VALUES (?, ?, 0)", (f"key {number}", "x" * 500))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_transaction_of_a_killed_process_is_rolled_back(store: Store) -> None:
    database = store.root / "mlflow.db"
    process = subprocess.run([sys.executable, "-c", KILLED_IN_A_TRANSACTION, str(database)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert database.with_name("mlflow.db-journal").stat().st_size > 0
    assert [found.name for found in connect_to_read(store).search_experiments()] == ["Default"]
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM experiment_tags").fetchone() == (0,)


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("hello " * 1000)
    with pytest.raises(SearchError, match=r"mlflow\.db: not an MLflow database: "):
        prepare_store(open_store(tmp_path))


@pytest.mark.parametrize("address", ["file:///tmp/mlruns", "mlruns", "databricks", "sqlite://", "sqlite:///:memory:"])
def test_an_unsupported_address_is_refused_in_one_line(tmp_path: Path, address: str) -> None:
    with pytest.raises(SearchError) as caught:
        connect(open_store(tmp_path / "store", tracking_uri=address))
    assert str(caught.value).startswith(f"{address}: not a usable MLflow address; valid: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_a_missing_server_is_refused_quickly_and_without_the_password(tmp_path: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        start = time.perf_counter()
        with pytest.raises(StoreError) as caught:
            connect(open_store(tmp_path, tracking_uri=f"http://user:secret@127.0.0.1:{port}"))
    assert str(caught.value).startswith(f"http://127.0.0.1:{port}: no MLflow server answers: ")
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - start < 5


def test_a_read_on_an_empty_folder_creates_nothing(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(SearchError, match="no search has been run here"):
            connect_to_read(open_store(root))
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_record_is_lost_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store_id(store)
    with pytest.raises(SearchError, match=r"mlflow\.db: missing; no search has begun here, or the record"):
        connect_to_read(store)
    assert not (tmp_path / "mlflow.db").exists()


def test_artifacts_of_a_database_elsewhere_still_go_to_the_store(
    tmp_path: Path, initialised_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(initialised_database, tmp_path / "shared.db")
    store = open_store(tmp_path / "store", tracking_uri=f"sqlite:///{tmp_path / 'shared.db'}")
    client = connect(store)
    experiment = client.create_experiment("elsewhere", artifact_location(store, "elsewhere"))
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "text", "file.txt")
    assert list(store.artifacts.rglob("file.txt"))
    assert not (tmp_path / "mlruns").exists()
    assert artifact_location(open_store(tmp_path, tracking_uri="https://host"), "elsewhere") is None


def test_a_store_is_named_without_its_password(tmp_path: Path) -> None:
    assert store_name(open_store(tmp_path)) == str(tmp_path)
    assert store_name(open_store(tmp_path, tracking_uri="postgresql://me:pw@host:5/db")) == "postgresql://host:5/db"
