"""The sealed test split: each model is scored on it once, and every opening is recorded.

The scores are an artifact of the run that trained the model, named by the content hash of the data. A second request
reads that artifact, so that the split is not opened again.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.scores_file import SplitScores, read_scores, scores_to_bytes
from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.registry.promotion.split_scores import score_images
from kmcl_platform.tracking.runs.names import SEARCH_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

OPENING_TAG = "kmcl.test_opened"
"""Prefix of a search's tags, one for each opening; the data's digest and the trial's number follow."""
_FOLDER = "promotion"
_DIGEST_CHARACTERS = 12


def read_or_open(
    client: "MlflowClient", parent_id: str, run_id: str, number: str, predictor: Predictor, manifest: Manifest
) -> SplitScores:
    """A model's scores on the test split: from its run's artifact, or by opening the split.

    Args:
        client: connected to the store.
        parent_id: the search's run, which counts the openings.
        run_id: the run that trained the model.
        number: its trial's number.
        predictor: the model.
        manifest: the data.

    Raises:
        RegistryError: the classes of the model and the data differ, or the artifact was changed.
        DataError: the split has no images, or they cannot be read.
    """
    if predictor.class_names != manifest.class_names:
        raise RegistryError(
            f"model: got classes {', '.join(predictor.class_names)}; valid: those of the data {manifest.name!r}, "
            f"{', '.join(manifest.class_names)}"
        )
    digest = manifest.content_hash[:_DIGEST_CHARACTERS]
    name = f"test-{digest}.safetensors"
    with tempfile.TemporaryDirectory() as scratch:
        if f"{_FOLDER}/{name}" in {file.path for file in client.list_artifacts(run_id, _FOLDER)}:
            path = Path(client.download_artifacts(run_id, f"{_FOLDER}/{name}", scratch))
            try:
                return read_scores(path)
            except (KeyError, SafetensorError) as error:
                raise RegistryError(
                    f"run {run_id}: its artifact {_FOLDER}/{name} cannot be read ({error}); valid: the file as `kmcl "
                    "promote` wrote it"
                ) from error
        # Recorded before the scoring: a process that is killed after it may have shown the scores to somebody.
        opening = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "trial": number, "data": digest}
        # One tag for each model and data: after a kill, the same model opens the split again and counts once.
        client.set_tag(parent_id, f"{OPENING_TAG}.{digest}.{number}", json.dumps(opening))
        found = score_images(predictor, manifest, "test")
        path = Path(scratch) / name
        path.write_bytes(scores_to_bytes(found))
        client.log_artifact(run_id, str(path), _FOLDER)
        return found


def count_openings(client: "MlflowClient", manifest: Manifest) -> dict[str, int]:
    """How often each search of the store has opened the test split of this data, without those that never did.

    Each candidate that is scored on the test split makes it more likely that the best one is only lucky. Searches and
    runs that were deleted in MLflow count too: a deletion does not undo an opening.
    """
    prefix = f"{OPENING_TAG}.{manifest.content_hash[:_DIGEST_CHARACTERS]}."
    counts: dict[str, int] = {}
    for experiment in _all_experiments(client):
        search = experiment.tags.get(SEARCH_TAG)
        if search is None:
            continue
        # More than one run, if a search was started again after its run was deleted.
        for run in _all_search_runs(client, experiment.experiment_id):
            if number := sum(name.startswith(prefix) for name in run.data.tags):
                counts[search] = counts.get(search, 0) + number
    return counts


def _all_experiments(client: "MlflowClient") -> "Iterator[Experiment]":
    from mlflow.entities import ViewType

    token: str | None = None
    while True:
        page = client.search_experiments(view_type=ViewType.ALL, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _all_search_runs(client: "MlflowClient", experiment_id: str) -> "Iterator[Run]":
    from mlflow.entities import ViewType

    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], "tags.`kmcl.role` = 'search'", ViewType.ALL, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
