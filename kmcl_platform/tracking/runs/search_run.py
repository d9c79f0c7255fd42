"""SearchRuns: MLflow's record of one search, written so that a killed and continued search leaves one record."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.data.builtin.datasets import manifest_location
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.errors import SearchError
from kmcl_platform.tracking.database import (
    artifact_location,
    connect,
    find_runs,
    locked,
    store_name,
    write,
)
from kmcl_platform.tracking.database.http_retries import again_if_cut_off
from kmcl_platform.tracking.database.ui_urls import run_table_url
from kmcl_platform.tracking.runs.dataset_input import record_manifest, to_dataset_input
from kmcl_platform.tracking.runs.leaderboard import (
    build_leaderboard,
    count_outcomes,
    read_leaderboard,
    read_search_file_of,
)
from kmcl_platform.tracking.runs.names import (
    BEST_OBJECTIVE,
    FORECAST_FILE,
    LEADERBOARD_FILE,
    ROLE_TAG,
    RUNNING,
    SEARCH_TAG,
    TrialOutcome,
)
from kmcl_platform.tracking.runs.provenance import record_continuation, record_search
from kmcl_platform.tracking.runs.trial_runs import TrialRuns
from kmcl_platform.tracking.runs.ui_tables import leaderboard_table, mark_table

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

__all__ = ["SearchRuns", "TrialOutcome"]

SearchOutcome = Literal["finished", "interrupted", "failed"]
PARENT_STATUS: dict[SearchOutcome, str] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
RECORDED_TAG = "kmcl.recorded"
"""On the parent run once its files and params are all there: a process may be killed while writing them."""


class SearchRuns:
    """MLflow's record of one search: an experiment, a parent run, a child run for each trial (`trials`).

    Everything here may be repeated, by this process or a later one, without writing anything twice.

    Attributes:
        experiment_id: the experiment that carries the search's name.
        parent_id: the run of the search itself.
        trials: the runs of its trials.
    """

    def __init__(
        self,
        store: Store,
        client: "MlflowClient",
        file: SearchFile,
        experiment_id: str,
        parent_id: str,
        dataset: "DatasetInput | None" = None,
    ) -> None:
        self.experiment_id = experiment_id
        self.parent_id = parent_id
        self._client = client
        self._file = file
        self.trials = TrialRuns(store, client, file.name, experiment_id, parent_id, dataset)

    @classmethod
    def open(
        cls, store: Store, file: SearchFile, content: bytes, origin: str, manifest: Manifest | None = None
    ) -> "SearchRuns":
        """Begin the record of a search, or go on with the one that is there.

        Args:
            store: where it is kept.
            file: the search.
            content: the bytes that `file` was read from, kept as they are. Where a search goes on with others than it
                began with, those are kept beside the first.
            origin: the search file's name, for the reader of the record.
            manifest: what the file's `data.source` is, to be the input of every run; None leaves that as it is.

        Raises:
            SearchError: the store cannot be opened, or the search was deleted in MLflow.
        """
        client = connect(store)
        with locked(store):
            experiment_id = _find_or_create_experiment(client, store, file.name)
            tags = {SEARCH_TAG: file.name, ROLE_TAG: "search"}
            found = find_runs(client, experiment_id, role="search", search=file.name)
            parent = found[0] if found else client.create_run(experiment_id, tags=tags, run_name=file.name)
            parent_id = parent.info.run_id
            if found:
                client.update_run(parent_id, status="RUNNING")
            if RECORDED_TAG not in parent.data.tags:
                record_search(client, parent_id, file, content, origin)
                client.set_tag(parent_id, RECORDED_TAG, "true")
            else:
                record_continuation(client, parent, content)
        dataset = None
        if manifest is not None:
            dataset = to_dataset_input(manifest, manifest_location(file.base.data.source, store.data))
            record_manifest(client, parent, manifest, dataset)
        return cls(store, client, file, experiment_id, parent_id, dataset)

    @classmethod
    def reopen(cls, store: Store, search: str) -> "SearchRuns":
        """The record of a search that is in the store, from the file kept with it; nothing is changed.

        Raises:
            SearchError: there is no such store or search, or its record is not whole.
        """
        board = read_leaderboard(store, search)
        client = connect(store)
        file = read_search_file_of(client, board.parent_id, search)
        return cls(store, client, file, board.experiment_id, board.parent_id)

    def open_runs(self) -> list[str]:
        """Names of the search's runs that MLflow says are running."""
        runs = [self._client.get_run(self.parent_id)]
        runs += find_runs(self._client, self.experiment_id, role="trial", search=self._file.name)
        return [str(run.info.run_name) for run in runs if run.info.status == "RUNNING"]

    @again_if_cut_off
    def log_progress(self, metrics: Mapping[str, float], *, step: int, time_ms: int | None = None) -> None:
        """Write to the search's run how far it has come; the step is the number of trials that have ended."""
        write(self._client, self.parent_id, metrics=metrics, step=step, time_ms=time_ms)

    @again_if_cut_off
    def end(self, outcome: SearchOutcome) -> None:
        """Close the search's run, and every trial's that still runs as interrupted; write the leaderboard."""
        self.trials.end_open()
        self._log_leaderboard()
        self._client.set_terminated(self.parent_id, PARENT_STATUS[outcome])

    @again_if_cut_off
    def log_totals(self, metrics: Mapping[str, float]) -> None:
        """Write metrics of the whole search to its run; values that it holds already are left as they are."""
        held = self._client.get_run(self.parent_id).data.metrics
        new = {name: value for name, value in metrics.items() if held.get(name) != value}
        write(self._client, self.parent_id, metrics=new)

    @again_if_cut_off
    def log_forecast(self, metrics: Mapping[str, float], document: Mapping[str, object]) -> None:
        """Write how the search's forecast did to the search's run: metrics, and a file."""
        self.log_totals(metrics)
        self._client.log_text(self.parent_id, json.dumps(document, indent=1, allow_nan=False), FORECAST_FILE)

    def forget(self) -> None:
        """Ask the store again what each trial's run holds."""
        self.trials.forget()

    def link(self, ui: str) -> str:
        """Where the MLflow UI at `ui` shows the search's trials, the best first."""
        objective = self._file.objective
        return run_table_url(ui, self.experiment_id, objective.metric, objective.mode)

    def _log_leaderboard(self) -> None:
        leaderboard = build_leaderboard(self._client, self._file, self.experiment_id, self.parent_id)
        self._client.log_text(self.parent_id, leaderboard_table(leaderboard), LEADERBOARD_FILE)
        mark_table(self._client, self.parent_id, LEADERBOARD_FILE)
        counts = count_outcomes(leaderboard.rows)
        metrics: dict[str, float] = {f"trials/{name}": counts.get(name, 0) for name in (*TrialOutcome, RUNNING)}
        if leaderboard.rows and leaderboard.rows[0].rank == 1:
            metrics[BEST_OBJECTIVE] = leaderboard.rows[0].objective or 0.0
        ended = sum(counts.get(name, 0) for name in TrialOutcome if name != TrialOutcome.INTERRUPTED)
        write(self._client, self.parent_id, metrics=metrics, step=ended)


def _find_or_create_experiment(client: "MlflowClient", store: Store, search: str) -> str:
    experiment = client.get_experiment_by_name(search)
    if experiment is None:
        return client.create_experiment(search, artifact_location(store, search), {SEARCH_TAG: search})
    if experiment.lifecycle_stage != "active":
        raise SearchError(
            f"{store_name(store)}: the experiment of search {search!r} was deleted in MLflow; "
            "valid: restore it there, or another name in the search file"
        )
    if SEARCH_TAG not in experiment.tags:
        client.set_experiment_tag(experiment.experiment_id, SEARCH_TAG, search)
    return str(experiment.experiment_id)
