"""The record of a store: its id and its study never change, even if several processes start at the same time."""

import subprocess
import sys
from pathlib import Path

import pytest

from kmcl_platform.config import store_record
from kmcl_platform.config.store import Store, open_store, sqlite_file, sqlite_url
from kmcl_platform.config.store_record import (
    StoreRecord,
    check_study,
    claim_study,
    read_record,
    store_id,
    study_address,
)
from kmcl_platform.errors import SearchError, StoreError

HEAD = "postgresql+psycopg://kmcl:pa#s/s@10.0.0.7:5432/studies"


def test_a_store_keeps_its_id_and_gets_its_study_from_the_first_search(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    assert read_record(store) is None
    first = store_id(store)  # A promotion does this, for example: it has no study.
    assert read_record(store) is not None
    assert claim_study(store).study == "optuna.db"
    assert store_id(store) == first
    assert store_id(open_store(tmp_path / "other")) != first


def test_reading_creates_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    check_study(store)
    assert read_record(store) is None
    assert not store.root.exists()


def test_another_study_is_refused_in_one_line_without_its_password(tmp_path: Path) -> None:
    claim_study(open_store(tmp_path, study_url=HEAD))
    assert "pa#s" not in (tmp_path / "store.json").read_text()
    check_study(open_store(tmp_path, study_url="postgresql://someone:else@10.0.0.7:5432/studies"))
    for other in (None, "postgresql://kmcl:pa#s/s@10.0.0.8:5432/studies"):
        for check in (check_study, claim_study):
            with pytest.raises(SearchError, match="study: got .*; valid: that address in --study-url") as caught:
                check(open_store(tmp_path, study_url=other))
            assert "\n" not in str(caught.value)
            assert "pa#s" not in str(caught.value)
    assert study_address(open_store(tmp_path, study_url=HEAD)) == "postgresql://10.0.0.7/studies"


@pytest.mark.parametrize(
    "same",
    [
        "postgresql://localhost/studies",
        "postgresql+psycopg://localhost:5432/studies",
        "postgresql+psycopg2://LOCALHOST/studies",
        "postgresql://[::1]:5432/studies",
        "postgresql://me@127.0.0.1/studies?sslmode=require&connect_timeout=3",
        "postgresql://me:p@ss/w#d@127.0.0.1:5432/studies",
    ],
)
def test_another_way_to_write_the_address_is_the_same_study(same: str, tmp_path: Path) -> None:
    claim_study(open_store(tmp_path, study_url="postgresql://127.0.0.1:5432/studies"))
    check_study(open_store(tmp_path, study_url=same))


@pytest.mark.parametrize(
    "other",
    [
        "postgresql://localhost:5433/studies",
        "postgresql://localhost/Studies",
        "postgresql://localhost.example/studies",
        "mysql://localhost/studies",
        "postgresql://localhost/studies?options=-csearch_path%3Dother",
    ],
)
def test_an_address_of_another_database_is_another_study(other: str, tmp_path: Path) -> None:
    claim_study(open_store(tmp_path, study_url="postgresql://127.0.0.1:5432/studies"))
    with pytest.raises(SearchError, match=r"are in postgresql://localhost/studies; valid: "):
        check_study(open_store(tmp_path, study_url=other))


def test_a_record_that_was_changed_by_hand_is_compared_in_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"id": "a", "study": "postgresql+psycopg://kmcl@LocalHost:5432/studies"}')
    check_study(open_store(tmp_path, study_url="postgresql://127.0.0.1/studies"))


def test_another_path_to_the_stores_own_file_is_the_same_study(tmp_path: Path) -> None:
    claim_study(open_store(tmp_path / "store"))
    (tmp_path / "link").symlink_to(tmp_path / "store")
    for path in (tmp_path / "store" / "optuna.db", tmp_path / "link" / "optuna.db"):
        check_study(open_store(tmp_path / "store", study_url=f"sqlite:///{path}"))


def test_a_store_that_was_moved_keeps_its_own_study(tmp_path: Path) -> None:
    claim_study(open_store(tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    check_study(open_store(tmp_path / "there"))
    with pytest.raises(SearchError, match="valid: no --study-url"):
        check_study(open_store(tmp_path / "there", study_url=f"sqlite:///{tmp_path}/x.db"))


def test_a_relative_address_is_recorded_as_a_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    claim_study(open_store(tmp_path / "store", study_url="sqlite:///x.db"))
    check_study(open_store(tmp_path / "store", study_url=f"sqlite:///{tmp_path}/x.db"))


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b", "50%", "a b", "{a}", "a:b@c"])
def test_a_study_in_any_folder_is_found_again(name: str, tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / name / "x.db")
    claim_study(open_store(tmp_path, study_url=url))
    check_study(open_store(tmp_path, study_url=url))
    recorded = study_address(open_store(tmp_path, study_url=url))
    assert sqlite_file(recorded) == tmp_path / name / "x.db"
    # A user gives the recorded address to the next command, as the message of a refusal says.
    check_study(open_store(tmp_path, study_url=recorded))


@pytest.mark.parametrize("content", [b"", b"\xff", b'{"id": 3}', b'{"id": "a", "more": 1}'])
def test_a_damaged_record_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "store.json").write_bytes(content)
    with pytest.raises(StoreError, match="store.json: not the record of a store; valid: "):
        store_id(open_store(tmp_path))


def test_the_study_of_a_process_that_was_faster_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process records its study between this one's look at the record and its write."""
    other, own = (open_store(tmp_path, study_url=f"sqlite:///{tmp_path}/{name}.db") for name in ("other", "own"))
    update = store_record._update

    def let_other_be_faster(store: Store, study: str | None) -> StoreRecord:
        monkeypatch.setattr(store_record, "_update", update)
        claim_study(other)
        return update(store, study)

    monkeypatch.setattr(store_record, "_update", let_other_be_faster)
    with pytest.raises(SearchError, match=r"study: got .*own\.db, but the searches of .* are in .*other\.db; valid: "):
        claim_study(own)
    check_study(other)


def test_processes_that_start_together_agree_on_one_id(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from kmcl_platform.config.store import open_store;"
        "from kmcl_platform.config.store_record import claim_study;"
        "print(claim_study(open_store(Path(sys.argv[1]))).id)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "store")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate()[0] for process in processes}) == 1
    assert all(process.returncode == 0 for process in processes)
