"""A study whose database does not answer: a method is repeated after the study was opened again."""

from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from kmcl_platform.errors import NoAnswerError, StoreError
from kmcl_platform.search.study import storage
from kmcl_platform.search.study.storage import load_study, open_storage, patient

AWAY = "server closed the connection to postgresql://me:s3cr3t@host/db\nunexpectedly"


class Study:
    """A study that meets one error after another, then answers."""

    url = "postgresql+psycopg://me:s3cr3t@host/db"

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.said: list[str] = []
        self.opened = 0

    def say(self, line: str) -> None:
        self.said.append(line)

    def reopen(self) -> None:
        self.opened += 1

    @patient
    def read(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_FIRST_PAUSE", 0.001)


def wrapped(cause: Exception) -> Exception:
    """An error of a library that met `cause`."""
    error = RuntimeError("of Optuna")
    error.__cause__ = cause
    return error


def test_a_method_is_repeated_until_the_database_answers() -> None:
    study = Study(
        OperationalError("", {}, Exception(AWAY)),
        wrapped(InterfaceError("", {}, Exception(AWAY))),
        NoAnswerError("still away"),
    )
    assert study.read() == "answer"
    assert study.opened == 3
    first, last = study.said
    assert first == (
        "study: its database does not answer (server closed the connection to postgresql://me:***@host/db "
        "unexpectedly); trying again for up to 10 minutes"
    )
    assert last.startswith("study: its database answers again, after ")


def test_other_errors_are_not_repeated() -> None:
    for error in (ValueError("of our own"), IntegrityError("", {}, Exception("a key is given twice"))):
        study = Study(error)
        with pytest.raises(type(error)):
            study.read()
        assert (study.opened, study.said) == (0, [])


def test_a_database_that_stays_away_is_one_line_without_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PATIENCE_SECONDS", 0.01)
    study = Study(*(OperationalError("", {}, Exception(AWAY)) for _ in range(1000)))
    with pytest.raises(NoAnswerError) as caught:
        study.read()
    assert str(caught.value).startswith(
        "study: got postgresql+psycopg://me:***@host/db, whose database does not answer"
    )
    assert "s3cr3t" not in str(caught.value) and "\n" not in str(caught.value)
    assert study.opened > 0


@pytest.mark.parametrize("half", [True, False])
def test_a_damaged_file_of_studies_is_named(half: bool, tmp_path: Path) -> None:
    file = tmp_path / "optuna.db"
    url = f"sqlite:///{file}"
    optuna.create_study(study_name="s", storage=open_storage(url))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] if half else b"garbage" * 1000)
    with pytest.raises(StoreError, match=r"optuna\.db: cannot be read as a study: .*; valid: a whole copy"):
        load_study(url, "s")


def test_a_database_whose_tables_another_process_makes_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, failures = (
        RDBStorage,
        [
            IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed: alembic_version.version_num")),
            OperationalError("CREATE", {}, Exception("table studies already exists")),
        ],
    )

    def make_later(*args: object, **more: object) -> RDBStorage:
        if failures:
            raise failures.pop()
        return make(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(storage, "RDBStorage", make_later)
    assert storage.open_storage(f"sqlite:///{tmp_path}/optuna.db").get_all_studies() == []
    assert not failures
