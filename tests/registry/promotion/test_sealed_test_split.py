"""The count of openings of the sealed test split: searches and runs that were deleted in MLflow count too."""

from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.registry.promotion.sealed_test_split import OPENING_TAG, count_openings
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
