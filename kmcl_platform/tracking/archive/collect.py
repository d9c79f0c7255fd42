"""From MLflow's runs of a search to the rows of an archive; the study is not needed, and nothing is written."""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.errors import SearchError
from kmcl_platform.tracking.archive.schema import to_table
from kmcl_platform.tracking.database import connect_to_read, find_runs
from kmcl_platform.tracking.runs.artifacts import read_artifact
from kmcl_platform.tracking.runs.names import (
    BASELINE_NAME_TAG,
    EPOCH_SECONDS,
    EPOCHS,
    OBJECTIVE,
    OUTCOME_TAG,
    REASON_TAG,
    RUNNING,
    STORE_TAG,
    WALL_SECONDS,
    TrialOutcome,
    trial_number,
)
from kmcl_platform.tracking.runs.searches import find_parent, read_search_file_of
from kmcl_platform.tracking.runs.trial_params import read_config

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PACKAGES = ("kmcl-platform", "mlflow", "numpy", "optuna", "ray", "timm", "torch", "torchvision")
"""The packages whose versions an archive has."""

_NOT_METRICS = (EPOCHS, EPOCH_SECONDS, WALL_SECONDS, OBJECTIVE)

_SEALED = "test/"
"""The metrics that a promotion measured: an archive is for choosing settings, and the test split must not choose."""


def archive_searches(
    store: Store,
    searches: Sequence[str],
    progress: Callable[[str, int, int], None] | None = None,
    left_out: Callable[[str, int], None] | None = None,
) -> pa.Table:
    """All trials of searches that have ended, as an archive; trials that still run or were interrupted are left out.

    Args:
        store: where the searches are.
        searches: their names, at least one.
        progress: called with the name of a search, the number of its trials that are read, and of all.
        left_out: called with the name of a search, and the number of its trials that have not ended.

    Raises:
        SearchError: there is no such store or search, its record is incomplete, or none of its trials has ended.
        ConfigError: the search file of a record is not valid for this version of the platform.
    """
    client = connect_to_read(store)
    rows: list[dict[str, object]] = []
    for search in searches:
        parent = find_parent(client, store, search)
        file = read_search_file_of(client, parent.info.run_id, search)
        if file.base.own:
            raise SearchError(
                f"search {search!r}: got a training of your own; valid: searches of the platform's training, whose "
                "values and metrics an archive has"
            )
        common = _of_search(client, parent, file)
        begun = find_runs(client, parent.info.experiment_id, role="trial", search=search)
        still_open = (RUNNING, TrialOutcome.INTERRUPTED)
        runs = [run for run in begun if run.data.tags.get(OUTCOME_TAG, RUNNING) not in still_open]
        if left_out is not None and len(runs) < len(begun):
            left_out(search, len(begun) - len(runs))
        if not runs:
            raise SearchError(f"search {search!r}: got no trial that has ended; valid: a search with at least one")
        for done, run in enumerate(runs, start=1):
            rows += _of_trial(client, run, common)
            if progress is not None:
                progress(search, done, len(runs))
    return to_table(rows, f"searches {', '.join(searches)}")


def _of_search(client: "MlflowClient", parent: "Run", file: SearchFile) -> dict[str, object]:
    inputs = parent.inputs.dataset_inputs if parent.inputs else []
    # A search that continued with other data has several inputs; its trials have their own (`_of_trial`).
    dataset = inputs[0].dataset if inputs else None
    return {
        "store": parent.data.tags.get(STORE_TAG, ""),
        "search": file.name,
        "objective": file.objective.metric,
        "mode": file.objective.mode,
        "num_epochs": file.base.num_epochs,
        "device": "gpu" if file.resources.gpus_per_worker else "cpu",
        "workers": file.resources.workers_per_trial,
        "packages": _packages(read_artifact(client, parent.info.run_id, "environment.txt").decode()),
        **_of_dataset(dataset),
    }


def _of_trial(client: "MlflowClient", run: "Run", common: dict[str, object]) -> Iterator[dict[str, object]]:
    tags = run.data.tags
    own = common | {
        "trial": trial_number(run),
        "config": json.dumps(read_config(run).model_dump(mode="json"), sort_keys=True),
        "baseline": tags.get(BASELINE_NAME_TAG, ""),
        "outcome": tags[OUTCOME_TAG],
        "reason": tags.get(REASON_TAG, ""),
        "value": run.data.metrics.get(OBJECTIVE),
    }
    if run.inputs and run.inputs.dataset_inputs:
        own |= _of_dataset(run.inputs.dataset_inputs[0].dataset)
    epochs: dict[int, dict[str, object]] = {}
    for point in client.get_metric_history(run.info.run_id, EPOCH_SECONDS):
        epochs[point.step] = {"epoch": point.step, "seconds": point.value, "time_ms": point.timestamp}
    for name in sorted(run.data.metrics.keys() - set(_NOT_METRICS)):
        if name.startswith(_SEALED):
            continue
        for point in client.get_metric_history(run.info.run_id, name):
            # A diverged trial may have a loss that is not a number.
            if point.step in epochs and math.isfinite(point.value):
                epochs[point.step][name] = point.value
    if not epochs:
        yield own | {"epoch": 0}
    for epoch in sorted(epochs):
        yield own | epochs[epoch]


def _of_dataset(dataset: Any) -> dict[str, object]:
    if dataset is None:
        return {"dataset": "", "dataset_hash": ""}
    return {"dataset": dataset.name, "dataset_hash": json.loads(dataset.profile or "{}").get("content_hash", "")}


def _packages(environment: str) -> str:
    """Versions from the text that `provenance.environment_text` wrote."""
    found = dict(re.findall(r"^([\w.-]+)==(\S+)$", environment, flags=re.MULTILINE))
    python = re.search(r"^# python (\S+)", environment, flags=re.MULTILINE)
    names = {name.replace("_", "-").lower(): version for name, version in found.items()}
    versions = {"python": python[1] if python else ""} | {name: names.get(name, "") for name in PACKAGES}
    return json.dumps(versions, sort_keys=True)
