"""Two stores on one MLflow: a search belongs to the store that began it, and the other store is refused."""

import io
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from rich.console import Console

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.config.store_record import store_id
from kmcl_platform.errors import SearchError
from kmcl_platform.search.run.single_search import run_or_find
from kmcl_platform.search.study.inputs import Inputs
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.tracking.runs.names import PLACE_TAG, STORE_TAG
from kmcl_platform.tracking.runs.ownership import check_own
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome
from kmcl_platform.tracking.runs.searches import list_own_searches, list_searches
from kmcl_platform.tracking.writing.outbox import Outbox
from tests.support.mlflow_server import MlflowServer

Begin = Callable[[Store], SearchRuns]


@pytest.fixture
def begin(search_file: SearchFile, search_yaml: bytes) -> Begin:
    return lambda store: SearchRuns.open(store, search_file, search_yaml, "tiny.yaml")


@pytest.fixture
def stores(tmp_path: Path, initialised_database: Path) -> list[Store]:
    """Two stores that share one MLflow database outside their folders."""
    shutil.copy(initialised_database, tmp_path / "shared.db")
    address = f"sqlite:///{tmp_path / 'shared.db'}"
    found = [open_store(tmp_path / name, tracking_uri=address) for name in ("one", "two")]
    for store in found:
        store.root.mkdir()
    return found


@pytest.mark.story
def test_of_two_stores_on_a_server_only_one_may_write(
    tmp_path: Path, initialised_database: Path, begin: Begin, search_file: SearchFile
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    server = MlflowServer(folder, initialised_database)
    server.start()
    try:
        first, second = (open_store(tmp_path / name, tracking_uri=server.address) for name in ("one", "two"))
        barrier = Barrier(2)

        def start(store: Store) -> SearchRuns | SearchError:
            connect(store)
            barrier.wait()
            try:
                return begin(store)
            except SearchError as error:
                return error

        with ThreadPoolExecutor(2) as threads:
            answers = dict(zip((first, second), threads.map(start, (first, second)), strict=True))
        (owner,) = (store for store, answer in answers.items() if isinstance(answer, SearchRuns))
        (other,) = (store for store in answers if store != owner)
        for refusal in (answers[other], start_error(lambda: begin(other))):
            assert str(refusal).startswith(
                f"{server.address}: search 'tiny' belongs to another store ({owner.root} on "
            )
            assert "valid: another name in the search file, or --store with" in str(refusal)
            assert "\n" not in str(refusal)
        runs = begin(owner)
        runs.trials.begin(0, search_file.base, baseline=True)
        runs.trials.end(0, TrialOutcome.COMPLETED, objective=0.5)
        client = connect(owner)
        assert len(client.search_runs([runs.experiment_id])) == 2
        assert {run.data.tags[STORE_TAG] for run in client.search_runs([runs.experiment_id])} == {store_id(owner)}
        # Both may read. `kmcl doctor` of the other store must not close the runs of a live search.
        assert [row.number for row in read_leaderboard(other, "tiny").rows] == [0]
        assert (list_searches(other), list_own_searches(other), list_own_searches(owner)) == (["tiny"], [], ["tiny"])
        with pytest.raises(SearchError, match="belongs to another store"):
            SearchRuns.reopen(other, "tiny")
        assert SearchRuns.reopen(owner, "tiny").trials.outcomes() == {0: "completed"}
    finally:
        server.kill()


def start_error(action: Callable[[], object]) -> SearchError:
    with pytest.raises(SearchError) as caught:
        action()
    return caught.value


def remove_tags(runs: SearchRuns) -> None:
    """Change the record into one of an older version."""
    client = runs._client
    with client._tracking_client.store.ManagedSessionMaker() as session:
        from sqlalchemy import text

        for table in ("experiment_tags", "tags"):
            session.execute(text(f"DELETE FROM {table} WHERE key IN ('{STORE_TAG}', '{PLACE_TAG}')"))
    assert STORE_TAG not in client.get_experiment(runs.experiment_id).tags


def test_an_older_search_is_taken_over_by_the_store_that_has_its_files(stores: list[Store], begin: Begin) -> None:
    first, second = stores
    runs = begin(first)
    Outbox(first, "tiny").close()
    remove_tags(runs)
    refusal = start_error(lambda: begin(second))
    assert "belongs to another store (its folder is not recorded)" in str(refusal)
    assert STORE_TAG not in connect(second).get_experiment(runs.experiment_id).tags
    assert list_own_searches(second) == []
    assert list_own_searches(first) == ["tiny"]
    assert begin(first).parent_id == runs.parent_id
    assert connect(first).get_experiment(runs.experiment_id).tags[STORE_TAG] == store_id(first)
    Outbox(second, "tiny").close()
    assert "belongs to another store" in str(start_error(lambda: begin(second)))


def test_runs_of_two_stores_in_one_older_experiment_are_kept_apart(
    stores: list[Store], begin: Begin, search_file: SearchFile
) -> None:
    first, second = stores
    runs = begin(first)
    client = connect(first)
    tags = {"kmcl.search": "tiny", "kmcl.role": "trial", "kmcl.trial": "tiny-0000", "kmcl.number": "0"}
    other = client.create_run(runs.experiment_id, start_time=1, tags=tags | {STORE_TAG: store_id(second)})
    assert runs.trials.outcomes() == {}
    runs.trials.begin(0, search_file.base, baseline=True)
    assert client.get_run(other.info.run_id).data.params == {}
    runs.end("finished")
    assert client.get_run(other.info.run_id).info.status == "RUNNING"


def test_a_refused_search_has_no_study(
    stores: list[Store], begin: Begin, search_file: SearchFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kmcl_platform.search.run.single_search._run", lambda *_: pytest.fail("the search began"))
    first, second = stores
    begin(first)
    console = Console(file=io.StringIO())
    refusal = start_error(lambda: run_or_find(search_file, b"", "tiny.yaml", second, console, None, Inputs()))
    assert "belongs to another store" in str(refusal)
    assert not (second.root / "optuna.db").exists()


def test_a_store_that_was_moved_or_lost_its_record_keeps_its_own_database(store: Store, begin: Begin) -> None:
    runs = begin(store)
    (store.root / "store.json").unlink()
    assert begin(store).parent_id == runs.parent_id
    check_own(store, runs.experiment_id)
    assert connect(store).get_experiment(runs.experiment_id).tags[STORE_TAG] == store_id(store)
