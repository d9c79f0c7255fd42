"""A search is checked before Ray starts and before anything is written for it."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store, open_store
from kmcl_platform.errors import SearchError
from kmcl_platform.search.run import running_search, single_search
from kmcl_platform.search.run.running_search import keep_report
from kmcl_platform.search.run.single_search import run_or_find
from kmcl_platform.search.study.inputs import Inputs
from kmcl_platform.search.study.storage import load_study
from kmcl_platform.search.study.study import DurableStudy

FILE = b"""
name: s
space: {optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}}
baselines: []
budget: {trials: 2}
"""


@pytest.fixture
def file() -> SearchFile:
    return parse_search_file(FILE, "s.yaml")


def begin(file: SearchFile, store: Store) -> None:
    """Run the search. It fails where it would start Ray."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single_search, "_run", lambda *_: pytest.fail("the search began"))
        run_or_find(file, FILE, "s.yaml", store, Console(file=io.StringIO()), None, Inputs("a" * 64))


def write_checkpoint(store: Store, number: int, config: dict[str, object]) -> Path:
    folder = store.trial_checkpoints("s", number) / "epoch-0002"
    folder.mkdir(parents=True)
    (folder / "trial.json").write_text(json.dumps({"config": config}))
    return folder


def test_a_search_does_not_begin_with_the_checkpoints_of_a_deleted_study(file: SearchFile, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    checkpoint = write_checkpoint(store, 0, file.base.model_dump())
    with pytest.raises(SearchError, match=r"checkpoints/s: got checkpoints of an earlier search \(trial-0000\)"):
        begin(file, store)
    assert checkpoint.exists()
    # `kmcl doctor --fix` deletes checkpoints of trials that a study does not know. So no study may be there now.
    assert load_study(store.study_url, "s") is None


def test_a_search_does_not_begin_with_the_checkpoint_of_another_trial(file: SearchFile, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    point = DurableStudy(store.study_url, file).next_point()
    assert point is not None
    write_checkpoint(store, 0, point.config.with_values({"seed": 7}).model_dump())
    with pytest.raises(SearchError, match="got the checkpoint of another trial 0, with seed = 7 instead of 0; valid"):
        begin(file, store)


def test_a_report_that_cannot_be_written_is_one_line_without_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("cannot reach\nhttp://me:s3cr3t@host/x")

    monkeypatch.setattr(running_search, "write_report", refuse)
    output = io.StringIO()
    keep_report(open_store(tmp_path), "s", Console(file=output))
    assert output.getvalue() == "no report: OSError: cannot reach http://me:***@host/x; next: kmcl report s\n"
