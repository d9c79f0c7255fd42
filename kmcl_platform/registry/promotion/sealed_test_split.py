"""The sealed test split: each model is scored on it once, and every opening is written down.

The scores lie with the run that trained the model, under the content hash of the data: whoever asks again gets them
from there, and the split stays shut.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.numpy import load_file, save_file

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.scores_file import SplitScores
from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.registry.promotion.split_scores import score_images
from kmcl_platform.tracking.database import find_runs
from kmcl_platform.tracking.runs.names import SEARCH_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

OPENING_TAG = "kmcl.test_opened"
"""Prefix of a search's tags, one for each opening; then the data's digest and the trial's number."""
_FOLDER = "promotion"
_DIGEST = 12


def read_or_open(
    client: "MlflowClient", parent_id: str, run_id: str, number: str, predictor: Predictor, manifest: Manifest
) -> SplitScores:
    """A model's scores on the test split: those that were kept, or by opening it.

    Args:
        client: connected to the store.
        parent_id: the search's run, which counts the openings.
        run_id: the run that trained the model.
        number: its trial's number.
        predictor: the model.
        manifest: the data.

    Raises:
        RegistryError: the model knows other classes than the data.
        DataError: the split has no images, or they cannot be read.
    """
    if predictor.class_names != manifest.class_names:
        raise RegistryError(
            f"the model knows classes {', '.join(predictor.class_names)}; valid: those of {manifest.name!r}, "
            f"{', '.join(manifest.class_names)}"
        )
    digest = manifest.content_hash[:_DIGEST]
    name = f"test-{digest}.safetensors"
    with tempfile.TemporaryDirectory() as scratch:
        if f"{_FOLDER}/{name}" in {file.path for file in client.list_artifacts(run_id, _FOLDER)}:
            tensors = load_file(client.download_artifacts(run_id, f"{_FOLDER}/{name}", scratch))
            return SplitScores(tensors["scores_NK"], tensors["targets_NK"])
        # Counted before it is looked at: a process that is killed in between has looked.
        opening = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "trial": number, "data": digest}
        client.set_tag(parent_id, f"{OPENING_TAG}.{digest}.{number}", json.dumps(opening))
        found = score_images(predictor, manifest, "test")
        path = Path(scratch) / name
        save_file({"scores_NK": found.scores_NK, "targets_NK": found.targets_NK}, path)
        client.log_artifact(run_id, str(path), _FOLDER)
        return found


def count_openings(client: "MlflowClient", manifest: Manifest) -> dict[str, int]:
    """How often each search of the store has opened the test split of this data; searches that never did are left out.

    Every look lets chance choose a little: of many candidates, the best on the test split is partly the luckiest.
    """
    prefix = f"{OPENING_TAG}.{manifest.content_hash[:_DIGEST]}."
    counts: dict[str, int] = {}
    for experiment in client.search_experiments():
        search = experiment.tags.get(SEARCH_TAG)
        if search is None:
            continue
        for run in find_runs(client, experiment.experiment_id, role="search", search=search):
            if number := sum(name.startswith(prefix) for name in run.data.tags):
                counts[search] = counts.get(search, 0) + number
    return counts
