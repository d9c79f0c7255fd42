"""The doctor deletes only checkpoints of no trial in the study, under the search's lock, and lists them first."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kmcl_platform.cli.main import main
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.config.store_record import claim_study
from kmcl_platform.errors import SearchError, StoreError
from kmcl_platform.search.cluster.doctor import examine
from kmcl_platform.search.study.lock import SearchLock
from kmcl_platform.search.study.storage import load_study
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.search_run import SearchRuns

FILE = b"""
name: s
space: {optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}}
budget: {trials: 6}
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty MLflow database. It is made once, because this takes seconds."""
    store = open_store(tmp_path_factory.mktemp("empty"))
    connect(store)
    return (store.root / "mlflow.db").read_bytes()


@pytest.fixture
def file() -> SearchFile:
    return parse_search_file(FILE, "s.yaml")


@pytest.fixture
def store(tmp_path: Path, empty: bytes, file: SearchFile) -> Store:
    """A store whose study has the trials 0 and 1, with checkpoints of the trials 0, 1 and 7, and one half-written."""
    place = open_store(tmp_path / "my store")
    place.root.mkdir()
    (place.root / "mlflow.db").write_bytes(empty)
    claim_study(place)
    study = DurableStudy(place.study_url, file)
    for _ in range(2):
        study.next_point()
    for number in (0, 1, 7):
        write(place.trial_checkpoints("s", number) / "epoch-0001")
    write(place.trial_checkpoints("s", 1) / ".writing-epoch-0002-17")
    return place


def write(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 1000)


def doctor(store: Store, *words: str) -> tuple[int, str]:
    answer = CliRunner().invoke(main, ["doctor", "--store", str(store.root), *words])
    return answer.exit_code, answer.output


def folders(store: Store) -> set[str]:
    root = store.checkpoints / "s"
    return {str(path.relative_to(root)) for path in root.glob("*/*/")} | {path.name for path in root.glob("*/")}


ALL = {
    "trial-0000", "trial-0001", "trial-0007", "trial-0000/epoch-0001", "trial-0001/epoch-0001",
    "trial-0001/.writing-epoch-0002-17", "trial-0007/epoch-0001",
}  # fmt: skip


def test_everything_is_listed_before_it_is_deleted_and_nothing_else_is_deleted(store: Store) -> None:
    code, said = doctor(store)
    doomed = [store.trial_checkpoints("s", 7), store.trial_checkpoints("s", 1) / ".writing-epoch-0002-17"]
    assert code == 0
    assert [line.strip() for line in said.splitlines() if "delete /" in line] == [f"delete {path}" for path in doomed]
    assert f"next: kmcl doctor --fix --store '{store.root}'" in said
    assert folders(store) == ALL

    code, said = doctor(store, "--fix")
    assert code == 0
    assert said.index(f"delete {doomed[1]}") < said.index("done: delete them")
    assert folders(store) == {"trial-0000", "trial-0001", "trial-0000/epoch-0001", "trial-0001/epoch-0001"}


def test_without_its_study_no_checkpoint_is_deleted(store: Store) -> None:
    (store.root / "optuna.db").unlink()
    code, said = doctor(store, "--fix")
    assert code == 0
    assert "3 checkpoint folders are of a search without a study" in said
    assert "they are left alone; give --study-url" in said
    assert folders(store) == ALL


def test_with_a_study_without_trials_no_checkpoint_is_deleted(store: Store, file: SearchFile) -> None:
    (store.root / "optuna.db").unlink()
    DurableStudy(store.study_url, file.model_copy(update={"baseline": False}))
    code, said = doctor(store, "--fix")
    assert code == 0 and "they are left alone" in said
    assert folders(store) == ALL


def test_a_study_that_is_not_the_recorded_one_is_refused(store: Store, file: SearchFile) -> None:
    other = f"sqlite:///{store.root}/other.db"
    DurableStudy(other, file).next_point()
    for words in (["--study-url", other], ["--study-url", other, "--fix"]):
        code, said = doctor(store, *words)
        assert code == 2
        assert len(said.splitlines()) == 1 and said.startswith("kmcl: study: got sqlite:///")
    with pytest.raises(SearchError), examine(open_store(store.root, study_url=other)):
        pass
    assert folders(store) == ALL


@pytest.mark.parametrize("name", ["trial-x", "trial-7", "notes", "trial-0001 copy"])
def test_a_folder_that_is_not_of_a_trial_is_left_alone_and_named(name: str, store: Store) -> None:
    write(store.checkpoints / "s" / name)
    code, said = doctor(store, "--fix")
    assert code == 0
    assert f"1 name is not of a trial's folder ({name})" in said
    assert (store.checkpoints / "s" / name / "model.safetensors").exists()


def test_a_search_cannot_start_between_examination_and_fix(store: Store) -> None:
    with examine(store, to_fix=True) as findings:
        assert any(finding.deletes for finding in findings)
        with pytest.raises(SearchError, match="is in use"), SearchLock(store.root, "s"):
            pass
    with SearchLock(store.root, "s"), examine(store, to_fix=True) as findings:
        assert findings == [], "a search that a process owns is left alone"


def test_a_search_that_a_process_owns_has_no_findings(store: Store) -> None:
    with SearchLock(store.root, "s"), examine(store) as findings:
        assert findings == []
    with examine(store) as findings:
        assert findings


def test_a_search_that_starts_during_the_examination_has_no_findings(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = SearchLock(store.root, "s")

    def load_and_start(url: str, search: str) -> object:
        started.acquire()
        return load_study(url, search)

    monkeypatch.setattr("kmcl_platform.search.cluster.doctor.load_study", load_and_start)
    with examine(store) as findings:
        assert findings == []
    started.release()


def test_a_missing_study_is_named_without_its_password(tmp_path: Path, empty: bytes, file: SearchFile) -> None:
    place = open_store(tmp_path, study_url=f"sqlite:///{tmp_path}/gone.db?password=s3cr3t")
    (place.root / "mlflow.db").write_bytes(empty)
    SearchRuns.open(place, file, FILE, "s.yaml").end("finished")
    with examine(place) as findings:
        (finding,) = findings
    assert finding.problem == f"search s: its Optuna study is not in sqlite:///{tmp_path}/gone.db?password=***"


def test_nothing_is_deleted_if_the_study_disappears_before_the_fix(store: Store) -> None:
    with examine(store, to_fix=True) as findings:
        (finding,) = [finding for finding in findings if finding.deletes]
        assert finding.fix is not None
        (store.root / "optuna.db").unlink()
        with pytest.raises(StoreError, match="nothing deleted: the study of 's' has disappeared"):
            finding.fix()
    assert folders(store) == ALL


def test_the_checkpoint_of_a_trial_that_begins_before_the_fix_stays(store: Store, file: SearchFile) -> None:
    with examine(store, to_fix=True) as findings:
        (finding,) = [finding for finding in findings if finding.deletes]
        study = DurableStudy(
            store.study_url, file.model_copy(update={"budget": file.budget.model_copy(update={"trials": 9})})
        )
        handed = [study.next_point() for _ in range(8)]
        assert handed[-1] is not None and handed[-1].number == 7
        assert finding.fix is not None
        finding.fix()
    assert "trial-0007/epoch-0001" in folders(store)
    assert json.loads((store.root / "store.json").read_text())["study"] == "optuna.db"


def test_the_damaged_record_of_one_search_does_not_hide_the_others(store: Store) -> None:
    content = FILE.replace(b"name: s", b"name: a")
    SearchRuns.open(store, parse_search_file(content, "a.yaml"), content, "a.yaml")
    (recorded,) = store.artifacts.rglob("search_file.yaml")
    recorded.write_text("name: [")
    code, said = doctor(store, "--fix")
    assert code == 0
    assert "search a: cannot be examined: search_file.yaml of search 'a'" in said
    assert "done: delete them" in said
    assert "trial-0007" not in folders(store)
