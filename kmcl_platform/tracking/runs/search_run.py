"""SearchRuns: MLflow's record of one search; a search that is killed and continued has one record."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.config.store_record import read_record, store_id
from kmcl_platform.data.builtin.datasets import manifest_location
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.tracking.database import (
    connect,
    find_runs,
    locked,
    write,
)
from kmcl_platform.tracking.database.http_retries import again_if_cut_off
from kmcl_platform.tracking.database.ui_urls import run_table_url
from kmcl_platform.tracking.runs.dataset_input import record_manifest, to_dataset_input
from kmcl_platform.tracking.runs.leaderboard import build_leaderboard, count_outcomes, read_leaderboard
from kmcl_platform.tracking.runs.names import (
    BEST_OBJECTIVE,
    FORECAST_FILE,
    FRONT_TAG,
    LEADERBOARD_FILE,
    ROLE_TAG,
    RUNNING,
    SEARCH_TAG,
    STORE_TAG,
    TrialOutcome,
)
from kmcl_platform.tracking.runs.ownership import check_own, claim_experiment, is_own_run
from kmcl_platform.tracking.runs.provenance import record_continuation, record_search
from kmcl_platform.tracking.runs.searches import read_search_file_of
from kmcl_platform.tracking.runs.trial_runs import TrialRuns
from kmcl_platform.tracking.runs.ui_tables import leaderboard_table, mark_table

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

__all__ = ["SearchRuns", "TrialOutcome"]

SearchOutcome = Literal["finished", "interrupted", "failed"]
PARENT_STATUS: dict[SearchOutcome, str] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
RECORDED_TAG = "kmcl.recorded"
"""On the parent run when all its files and params are written. A process may be killed while it writes them."""


class SearchRuns:
    """MLflow's record of one search: an experiment, a parent run, a child run for each trial (`trials`).

    Every method may be repeated, by this process or a later one, without writing anything twice.

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
        owner: str | None = None,
    ) -> None:
        self.experiment_id = experiment_id
        self.parent_id = parent_id
        self._client = client
        self._file = file
        self.trials = TrialRuns(store, client, file.name, experiment_id, parent_id, dataset, owner)

    @classmethod
    def open(
        cls, store: Store, file: SearchFile, content: bytes, origin: str, manifest: Manifest | None = None
    ) -> "SearchRuns":
        """Begin the record of a search, or continue the one that exists.

        Args:
            store: where the record is.
            file: the search.
            content: the bytes of `file`, which are recorded unchanged. If a search continues with another file than it
                began with, both are recorded.
            origin: the search file's name, for readers of the record.
            manifest: the file's `data.source`, which becomes the input of every run. None: inputs stay as they are.

        Raises:
            SearchError: the store cannot be opened, the search belongs to another store, or it was deleted in MLflow.
        """
        client = connect(store)
        with locked(store):
            experiment_id = claim_experiment(client, store, file.name)
            owner = store_id(store)
            tags = {SEARCH_TAG: file.name, ROLE_TAG: "search", STORE_TAG: owner}
            found = find_runs(client, experiment_id, role="search", search=file.name)
            found = [run for run in found if is_own_run(store, run, owner)]
            parent = found[0] if found else client.create_run(experiment_id, tags=tags, run_name=file.name)
            parent_id = parent.info.run_id
            if found:
                # Not `mlflow.start_run`, which rewrites the end time of a run that has ended.
                client.update_run(parent_id, status="RUNNING")
                # Runs of an older version have no such tag.
                client.set_tag(parent_id, STORE_TAG, owner)
            if RECORDED_TAG not in parent.data.tags:
                record_search(client, parent_id, file, content, origin)
                # Last: if the process dies before this tag, the next start writes everything again.
                client.set_tag(parent_id, RECORDED_TAG, "true")
            else:
                record_continuation(client, parent, file, content)
        dataset = None
        if manifest is not None:
            dataset = to_dataset_input(manifest, manifest_location(file.base.data.source, store.data))
            record_manifest(client, parent, manifest, dataset)
        return cls(store, client, file, experiment_id, parent_id, dataset, owner)

    @classmethod
    def reopen(cls, store: Store, search: str) -> "SearchRuns":
        """The record of a search that is in the store, with the search file from the record; changes nothing.

        Raises:
            SearchError: there is no such store or search, its record is incomplete, or it belongs to another store.
        """
        board = read_leaderboard(store, search)
        check_own(store, board.experiment_id)
        client = connect(store)
        file = read_search_file_of(client, board.parent_id, search)
        record = read_record(store)
        owner = record.id if record else None
        return cls(store, client, file, board.experiment_id, board.parent_id, owner=owner)

    def open_runs(self) -> list[str]:
        """Names of the search's runs whose status in MLflow is RUNNING."""
        runs = [self._client.get_run(self.parent_id)]
        runs += self.trials.all_runs()
        return [str(run.info.run_name) for run in runs if run.info.status == "RUNNING"]

    @again_if_cut_off
    def log_progress(self, metrics: Mapping[str, float], *, step: int, time_ms: int | None = None) -> None:
        """Write the search's progress to its run; the step is the number of ended trials."""
        write(self._client, self.parent_id, metrics=metrics, step=step, time_ms=time_ms)

    @again_if_cut_off
    def end(self, outcome: SearchOutcome) -> None:
        """Close the runs of the trials that still run, then the search's run; write the leaderboard."""
        # MLflow does not end child runs with their parent. The parent's status is last: as long as it is RUNNING, the
        # next start and `kmcl doctor` see that something is missing.
        self.trials.end_open()
        self._log_leaderboard()
        self._client.set_terminated(self.parent_id, PARENT_STATUS[outcome])

    @again_if_cut_off
    def log_totals(self, metrics: Mapping[str, float]) -> None:
        """Write metrics of the whole search to its run. Values that it already has are not written again."""
        # MLflow would append an equal value with another time as a second point.
        recorded = self._client.get_run(self.parent_id).data.metrics
        new = {name: value for name, value in metrics.items() if recorded.get(name) != value}
        write(self._client, self.parent_id, metrics=new)

    @again_if_cut_off
    def log_forecast(self, metrics: Mapping[str, float], document: Mapping[str, object]) -> None:
        """Write the comparison of the search's forecast with its result to its run: metrics, and a file."""
        self.log_totals(metrics)
        self._client.log_text(self.parent_id, json.dumps(document, indent=1, allow_nan=False), FORECAST_FILE)

    def forget(self) -> None:
        """Forget the data of the trials' runs; the next call reads it from MLflow again."""
        self.trials.forget()

    def link(self, ui: str) -> str:
        """Where the MLflow UI at `ui` shows the search's trials, the best first."""
        objective = self._file.objective
        return run_table_url(ui, self.experiment_id, objective.metric, objective.mode)

    def _log_leaderboard(self) -> None:
        leaderboard = build_leaderboard(self._client, self._file, self.experiment_id, self.parent_id)
        self._client.log_text(self.parent_id, leaderboard_table(leaderboard), LEADERBOARD_FILE)
        mark_table(self._client, self.parent_id, LEADERBOARD_FILE)
        if front := leaderboard.front():
            self._client.set_tag(self.parent_id, FRONT_TAG, ", ".join(str(row.number) for row in front))
        counts = count_outcomes(leaderboard.rows)
        metrics: dict[str, float] = {f"trials/{name}": counts.get(name, 0) for name in (*TrialOutcome, RUNNING)}
        if leaderboard.rows and leaderboard.rows[0].rank == 1:
            metrics[BEST_OBJECTIVE] = leaderboard.rows[0].objective or 0.0
        # An interrupted trial continues with the next start of the search, so it has not ended.
        ended = sum(counts.get(name, 0) for name in TrialOutcome if name != TrialOutcome.INTERRUPTED)
        write(self._client, self.parent_id, metrics=metrics, step=ended)
