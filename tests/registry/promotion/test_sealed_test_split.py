"""The count of openings of the sealed test split: searches and runs that were deleted in MLflow count too."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.data.scores_file import SplitScores
from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.promotion import sealed_test_split
from kmcl_platform.registry.promotion.sealed_test_split import OPENING_TAG, count_openings, read_or_open
from kmcl_platform.tracking.runs.names import SEARCH_TAG


@pytest.fixture
def client(prepared_store: Path) -> MlflowClient:
    address = f"sqlite:///{prepared_store}/mlflow.db"
    return MlflowClient(address, address)


def make_manifest(image: str) -> Manifest:
    return build_manifest(
        name="any", version="1", class_names=["a"], splits=["test"], images=[image], targets=np.ones((1, 1), np.int8)
    )


def open_for(client: MlflowClient, search: str, manifest: Manifest, *numbers: int) -> tuple[str, str]:
    """A search that has opened the test split of this data for these trials: its experiment, and its run."""
    experiment = client.create_experiment(search, tags={SEARCH_TAG: search})
    run = client.create_run(experiment, tags={"kmcl.role": "search"}).info.run_id
    for number in numbers:
        client.set_tag(run, f"{OPENING_TAG}.{manifest.content_hash[:12]}.{number}", "{}")
    return experiment, run


def test_openings_by_deleted_searches_and_runs_count(client: MlflowClient) -> None:
    manifest, other = make_manifest("a.png"), make_manifest("b.png")
    open_for(client, "there", manifest, 0, 7)
    experiment, _ = open_for(client, "deleted search", manifest, 1)
    _, run = open_for(client, "deleted run", manifest, 2, 3, 4)
    open_for(client, "other data", other, 5)
    open_for(client, "never", manifest)
    expected = {"there": 2, "deleted search": 1, "deleted run": 3}
    assert count_openings(client, manifest) == expected
    client.delete_run(run)
    client.delete_experiment(experiment)
    assert count_openings(client, manifest) == expected
    assert count_openings(client, other) == {"other data": 1}


def test_openings_before_and_after_a_deletion_are_added(client: MlflowClient) -> None:
    """A search whose run was deleted may be started again; its new run has its own count of openings."""
    manifest = make_manifest("a.png")
    experiment, run = open_for(client, "again", manifest, 0)
    client.delete_run(run)
    new = client.create_run(experiment, tags={"kmcl.role": "search"}).info.run_id
    client.set_tag(new, f"{OPENING_TAG}.{manifest.content_hash[:12]}.1", "{}")
    assert count_openings(client, manifest) == {"again": 2}


class Scorer:
    """Counts how often the test split is scored, in the place of `score_images`."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.times = 0
        self._error = error

    def __call__(self, predictor: object, manifest: Manifest, split: str) -> SplitScores:
        assert split == "test"
        self.times += 1
        if self._error:
            raise self._error
        return SplitScores(np.full((1, 1), 0.25, np.float32), manifest.targets("test"))


@pytest.fixture
def run(client: MlflowClient, prepared_store: Path) -> str:
    """The run of a search. Here it is also the run of its model."""
    experiment = client.create_experiment("s", f"file://{prepared_store}/artifacts", tags={SEARCH_TAG: "s"})
    return str(client.create_run(experiment, tags={"kmcl.role": "search"}).info.run_id)


def read(client: MlflowClient, run: str, classes: tuple[str, ...] = ("a",), image: str = "a.png") -> SplitScores:
    model: Any = SimpleNamespace(class_names=classes)
    return read_or_open(client, run, run, "0", model, make_manifest(image))


def test_a_model_is_scored_once_on_each_data(client: MlflowClient, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer()
    monkeypatch.setattr(sealed_test_split, "score_images", scorer)
    first, second = read(client, run), read(client, run)
    assert (scorer.times, first.scores_NK, second.scores_NK) == (1, [[0.25]], [[0.25]])
    read(client, run, image="b.png")
    assert scorer.times == 2
    assert count_openings(client, make_manifest("a.png")) == {"s": 1}
    assert count_openings(client, make_manifest("b.png")) == {"s": 1}


def test_an_opening_counts_although_the_scoring_is_interrupted(
    client: MlflowClient, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed_test_split, "score_images", Scorer(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        read(client, run)
    assert count_openings(client, make_manifest("a.png")) == {"s": 1}


def test_a_model_of_other_classes_opens_nothing(
    client: MlflowClient, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer()
    monkeypatch.setattr(sealed_test_split, "score_images", scorer)
    with pytest.raises(RegistryError, match="model: got classes b; valid: those of the data 'any', a"):
        read(client, run, classes=("b",))
    assert (scorer.times, count_openings(client, make_manifest("a.png"))) == (0, {})


def test_scores_that_were_changed_are_refused_and_not_replaced(
    client: MlflowClient, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"test-{make_manifest('a.png').content_hash[:12]}.safetensors"
    (tmp_path / name).write_bytes(b"by hand")
    client.log_artifact(run, str(tmp_path / name), "promotion")
    monkeypatch.setattr(sealed_test_split, "score_images", Scorer())
    with pytest.raises(RegistryError, match=rf"run {run}: its artifact promotion/{name} cannot be read \(.*\); valid"):
        read(client, run)
    assert count_openings(client, make_manifest("a.png")) == {}
