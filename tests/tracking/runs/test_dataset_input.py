"""The manifest is the input of every run of a search. Its page is an artifact of the search's own run, once."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.data.builtin.datasets import manifest_location, open_manifest
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.data.report.page import to_html
from kmcl_platform.tracking.database import connect, find_runs
from kmcl_platform.tracking.runs.artifacts import read_artifact
from kmcl_platform.tracking.runs.dataset_input import to_dataset_input
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome

OpenWith = Callable[[Manifest | None], SearchRuns]


def made(*, last: int = 1, name: str = "digits") -> Manifest:
    return build_manifest(
        name=name,
        version="3",
        class_names=("cat", "dog"),
        splits=["train", "train", "val", "test"],
        images=["a.png", "b.png", "c.png", "d.png"],
        targets=np.array([[1, 0], [0, 1], [1, 1], [0, last]], dtype=np.int8),
    )


@pytest.fixture
def open_with(store: Store, search_file: SearchFile, search_yaml: bytes) -> OpenWith:
    """Opens the search's record again, with a manifest."""
    return lambda manifest: SearchRuns.open(store, search_file, search_yaml, "tiny.yaml", manifest)


def inputs(store: Store, run_id: str) -> list[tuple[str, str, dict[str, str]]]:
    recorded = connect(store).get_run(run_id).inputs.dataset_inputs
    return [(one.dataset.name, one.dataset.digest, {tag.key: tag.value for tag in one.tags}) for one in recorded]


def test_every_run_has_the_manifest_once(store: Store, open_with: OpenWith, search_file: SearchFile) -> None:
    manifest = made()
    wanted = [("digits", manifest.content_hash[:12], {"mlflow.data.context": "training, validation"})]
    for _ in range(2):  # as two processes that continue one search
        runs = open_with(manifest)
        for number in (0, 1):
            runs.trials.begin(number, search_file.base, baseline=number == 0)
    runs.trials.end(0, TrialOutcome.COMPLETED, objective=0.5)
    trials = find_runs(connect(store), runs.experiment_id, role="trial")
    assert len(trials) == 2
    for run_id in (runs.parent_id, *(run.info.run_id for run in trials)):
        assert inputs(store, run_id) == wanted
    # MLflow's own filter of datasets finds them.
    found = connect(store).search_runs([runs.experiment_id], f"dataset.digest = '{manifest.content_hash[:12]}'")
    assert len(found) == 3


def test_the_dataset_is_described(store: Store, open_with: OpenWith) -> None:
    manifest = made()
    runs = open_with(manifest)
    (recorded,) = connect(store).get_run(runs.parent_id).inputs.dataset_inputs
    assert recorded.dataset.source_type == "local"
    assert json.loads(recorded.dataset.source) == {"uri": str(store.data / "digits.parquet")}
    columns = json.loads(recorded.dataset.schema)["mlflow_colspec"]
    assert [(column["name"], column["type"]) for column in columns] == [
        ("image", "string"),
        ("split", "string"),
        ("cat", "integer"),
        ("dog", "integer"),
    ]
    assert json.loads(recorded.dataset.profile) == {
        "num_rows": 4,
        "num_classes": 2,
        "num_rows_train": 2,
        "num_rows_val": 1,
        "num_rows_test": 1,
        "version": "3",
        "content_hash": manifest.content_hash,
    }


def test_mlflow_finds_the_file_of_the_source(small_manifest: Path, tmp_path: Path) -> None:
    from mlflow.data.dataset_source_registry import get_dataset_source_from_json

    path = manifest_location(str(small_manifest), tmp_path)
    dataset = to_dataset_input(open_manifest(str(small_manifest), tmp_path), path).dataset
    assert json.loads(dataset.schema)["mlflow_colspec"][0]["name"] == "bytes"
    source = get_dataset_source_from_json(dataset.source, dataset.source_type)
    assert Path(source.load(str(tmp_path))).read_bytes() == small_manifest.read_bytes()


def test_the_page_is_written_once(store: Store, open_with: OpenWith, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = made()
    runs = open_with(manifest)
    client = connect(store)
    assert [found.path for found in client.list_artifacts(runs.parent_id, "dataset")] == ["dataset/digits.html"]
    assert read_artifact(client, runs.parent_id, "dataset/digits.html").decode() == to_html(manifest)

    def again(manifest: Manifest) -> str:
        raise AssertionError("the page exists already")

    monkeypatch.setattr("kmcl_platform.tracking.runs.dataset_input.to_html", again)
    assert open_with(manifest).parent_id == runs.parent_id


def test_an_older_search_gets_its_manifest_when_it_is_continued(
    store: Store, open_with: OpenWith, search_file: SearchFile
) -> None:
    runs = open_with(None)
    runs.trials.begin(0, search_file.base, baseline=True)
    assert inputs(store, runs.parent_id) == []
    runs = open_with(made())
    runs.trials.begin(0, search_file.base, baseline=True)
    (trial,) = find_runs(connect(store), runs.experiment_id, role="trial")
    for run_id in (runs.parent_id, trial.info.run_id):
        assert [name for name, _, _ in inputs(store, run_id)] == ["digits"]
    assert read_artifact(connect(store), runs.parent_id, "dataset/digits.html")


def test_a_search_that_continues_with_other_labels_has_both_inputs(store: Store, open_with: OpenWith) -> None:
    first, second = made(), made(last=0)
    open_with(first)
    for _ in range(2):
        runs = open_with(second)
    digests = {first.content_hash[:12], second.content_hash[:12]}
    assert {digest for _, digest, _ in inputs(store, runs.parent_id)} == digests
    client = connect(store)
    assert read_artifact(client, runs.parent_id, "dataset/digits.html").decode() == to_html(first)
    page = f"dataset/digits_{second.content_hash[:12]}.html"
    assert read_artifact(client, runs.parent_id, page).decode() == to_html(second)


def test_a_missing_page_is_written_by_the_next_start(
    store: Store, open_with: OpenWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kmcl_platform.tracking.runs.dataset_input.record_input", killed)
        with pytest.raises(KeyboardInterrupt):
            open_with(made())
    runs = open_with(made())
    assert [name for name, _, _ in inputs(store, runs.parent_id)] == ["digits"]
    assert len(connect(store).list_artifacts(runs.parent_id, "dataset")) == 1


def test_a_name_that_cannot_be_a_file_name_is_changed(store: Store, open_with: OpenWith) -> None:
    runs = open_with(made(name="../my data/of: today"))
    (page,) = connect(store).list_artifacts(runs.parent_id, "dataset")
    assert page.path == "dataset/_my_data_of__today.html"
    assert inputs(store, runs.parent_id)[0][0] == "../my data/of: today"


def test_a_new_trial_costs_one_more_request_and_a_continued_one_none(
    store: Store, open_with: OpenWith, search_file: SearchFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    calls: list[str] = []
    log_inputs = SqlAlchemyStore.log_inputs
    monkeypatch.setattr(
        SqlAlchemyStore, "log_inputs", lambda *a, **k: (calls.append("log_inputs"), log_inputs(*a, **k))[1]
    )
    runs = open_with(made())
    calls.clear()
    runs.trials.begin(0, search_file.base, baseline=True)
    assert calls == ["log_inputs"]
    open_with(made()).trials.begin(0, search_file.base, baseline=True)
    assert calls == ["log_inputs"]


def test_a_full_disk_is_found_while_an_input_is_written(
    store: Store, open_with: OpenWith, search_file: SearchFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    from kmcl_platform.tracking.database.store_errors import find_trouble

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    runs = open_with(made())
    with monkeypatch.context() as patch:
        patch.setattr(SqlAlchemyStore, "_log_inputs_impl", full)
        with pytest.raises(Exception) as caught:
            runs.trials.begin(0, search_file.base, baseline=True)
    assert find_trouble(caught.value, store) is not None
    runs.trials.begin(0, search_file.base, baseline=True)  # when there is room again, the same call records everything
    (trial,) = find_runs(connect(store), runs.experiment_id, role="trial")
    assert [name for name, _, _ in inputs(store, trial.info.run_id)] == ["digits"]


def test_an_object_store_is_named_without_secrets(small_manifest: Path, tmp_path: Path) -> None:
    location = manifest_location("s3://bucket/set/manifest.parquet?region=eu-west-1&session_token=hidden", tmp_path)
    dataset = to_dataset_input(open_manifest(str(small_manifest), tmp_path), location).dataset
    assert dataset.source_type == "s3"
    assert dataset.source == '{"uri": "s3://bucket/set/manifest.parquet?region=eu-west-1"}'
