"""A study in a real PostgreSQL: dropped connections and restarts do not end the search."""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.errors import ConfigError, NoAnswerError
from kmcl_platform.search.study import storage
from kmcl_platform.search.study.storage import load_study
from kmcl_platform.search.study.study import DurableStudy
from tests.support.postgres import PROGRAMS, Postgres

FILE = b"""
name: s
base: {num_epochs: 2}
space: {optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}}
baselines: []
budget: {trials: 6}
scheduler: {kind: none}
sampler: {kind: random, seed: 5}
"""
DROP = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'studies'"

needs_postgres = pytest.mark.skipif(not PROGRAMS, reason="needs PostgreSQL's server programs (Debian: postgresql)")


@pytest.fixture
def file() -> SearchFile:
    return parse_search_file(FILE, "s.yaml")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    # Not in pytest's folder, which the server's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="kmcl-pg-"))
    server = Postgres(folder)
    server.execute("CREATE DATABASE studies")
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@needs_postgres
def test_a_search_survives_dropped_connections_and_a_restart(postgres: Postgres, file: SearchFile) -> None:
    said: list[str] = []
    study = DurableStudy(postgres.url("studies"), file, said.append)
    asked = []
    for step in range(6):
        point = study.next_point()
        assert point is not None
        asked.append(point)
        assert int(postgres.execute(DROP)) > 0
        study.report(point.number, 1, 0.5 + step, seconds=1.0)
        if step == 2:
            assert said == [], "a dropped idle connection is replaced without a message"
            postgres.stop()
            starter = threading.Timer(0.3, postgres.start)
            starter.start()
            study.report(point.number, 2, 0.6 + step, seconds=1.0)
            starter.join()
            assert said[0].startswith("study: its database does not answer (")
            assert said[0].endswith("; trying again for up to 10 minutes")
            assert said[-1].startswith("study: its database answers again, after ")
        postgres.execute(DROP)
        study.tell(point.number, "completed", 0.5 + step)
    assert study.next_point() is None
    assert [point.number for point in asked] == list(range(6))
    assert study.ended.ends == dict.fromkeys(range(6), "completed")
    assert study.ended.best(2) == [5, 4]
    assert study.ledger.gpu_hours == 0
    stored = load_study(postgres.url("studies"), "s")
    assert stored is not None
    assert [sorted(trial.intermediate_values) for trial in stored.get_trials()] == [[1], [1], [1, 2], [1], [1], [1]]
    assert postgres.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = 'studies'") != ""


@needs_postgres
def test_a_point_is_drawn_once_if_the_database_restarts_meanwhile(
    postgres: Postgres, file: SearchFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.url("studies")
    undisturbed = DurableStudy(f"sqlite:///{tempfile.mkdtemp()}/s.db", file)
    study = DurableStudy(url, file.model_copy(update={"name": "cut"}), lambda _: None)
    real = storage.RDBStorage.set_trial_param

    def drop_then_set(self: object, *words: object) -> None:
        monkeypatch.setattr(storage.RDBStorage, "set_trial_param", real)
        postgres.stop()
        postgres.start()
        raise_from_server(url)

    for _ in range(2):
        point, expected = study.next_point(), undisturbed.next_point()
        assert point is not None and point.config == expected.config  # type: ignore[union-attr]
    monkeypatch.setattr(storage.RDBStorage, "set_trial_param", drop_then_set)
    point, expected = study.next_point(), undisturbed.next_point()
    assert point == expected
    assert len(study.counted()) == 3


def raise_from_server(url: str) -> None:
    """The error of a connection that the server breaks off while it is used."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_terminate_backend(pg_backend_pid())"))


@needs_postgres
def test_a_database_that_stays_away_gives_one_line(
    postgres: Postgres, file: SearchFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = DurableStudy(postgres.url("studies"), file.model_copy(update={"name": "away"}), lambda _: None)
    postgres.stop()
    try:
        monkeypatch.setattr(storage, "PATIENCE_SECONDS", 0.5)
        with pytest.raises(
            NoAnswerError, match=r"^study: got postgresql.*, whose database does not answer: .*; valid: "
        ):
            study.next_point()
    finally:
        postgres.start()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgres//nonsense", "study: got postgres//nonsense: .*; valid: sqlite:///PATH"),
        ("nobase://user:s3cret@host/x", r"study: got nobase://user:\*\*\*@host/x: .*; valid: sqlite:///PATH"),
    ],
)
def test_an_address_that_is_not_of_a_database_gives_one_line(url: str, message: str, file: SearchFile) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        DurableStudy(url, file)
    assert "\n" not in str(caught.value) and "s3cret" not in str(caught.value)


def test_a_database_that_does_not_answer_at_the_start_gives_one_line(file: SearchFile) -> None:
    with pytest.raises(NoAnswerError) as caught:
        DurableStudy("postgresql+psycopg://user:s3cret@127.0.0.1:1/x", file)
    assert "\n" not in str(caught.value) and "s3cret" not in str(caught.value)
