"""SearchRuns: MLflow's record of one search, written so that a killed and continued search leaves one record."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kmcl_platform.config.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.catalog import manifest_location
from kmcl_platform.data.manifest import Manifest
from kmcl_platform.errors import SearchError
from kmcl_platform.tracking.cut_answers import again_if_cut_off
from kmcl_platform.tracking.database import (
    artifact_location,
    connect,
    find_runs,
    locked,
    store_name,
    write,
    write_steps,
)
from kmcl_platform.tracking.dataset_input import record_input, record_manifest, to_dataset_input
from kmcl_platform.tracking.leaderboard import (
    build_leaderboard,
    count_outcomes,
    read_leaderboard,
    read_search_file_of,
)
from kmcl_platform.tracking.links import run_table_url
from kmcl_platform.tracking.names import (
    BASELINE_TAG,
    BEST_OBJECTIVE,
    CLASS_TABLE_FILE,
    EPOCH_SECONDS,
    EPOCHS,
    EVIDENCE_FOLDER,
    FORECAST_FILE,
    LEADERBOARD_FILE,
    NUMBER_TAG,
    OBJECTIVE,
    OUTCOME_TAG,
    REASON_TAG,
    ROLE_TAG,
    RUNNING,
    SEARCH_TAG,
    STATUS,
    TRIAL_TAG,
    WALL_SECONDS,
    TrialOutcome,
)
from kmcl_platform.tracking.provenance import record_continuation, record_search
from kmcl_platform.tracking.tables import leaderboard_table, mark_table

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

__all__ = ["SearchRuns", "TrialOutcome"]

SearchOutcome = Literal["finished", "interrupted", "failed"]
PARENT_STATUS: dict[SearchOutcome, str] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
RECORDED_TAG = "kmcl.recorded"
"""On the parent run once its files and params are all there: a process may be killed while writing them."""


@dataclass
class _Trial:
    """A child run, and the seconds of every epoch that it holds."""

    run_id: str
    seconds: dict[int, float]


class SearchRuns:
    """MLflow's record of one search: an experiment, a parent run, a child run for each trial.

    Everything here may be repeated, by this process or a later one, without writing anything twice.

    Attributes:
        experiment_id: the experiment that carries the search's name.
        parent_id: the run of the search itself.
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
        self._store = store
        self._client = client
        self._file = file
        self._dataset = dataset
        self._trials: dict[int, _Trial] = {}

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
    def begin_trial(self, number: int, config: TrialConfig, *, baseline: bool, time_ms: int | None = None) -> None:
        """Open the trial's run, which holds every value of its config as a param; an ended one is running again.

        Args:
            number: the trial's number.
            config: its values.
            baseline: whether it is the search file's base as it stands.
            time_ms: when it began, in milliseconds since 1970; none: now.
        """
        tags = {OUTCOME_TAG: RUNNING, REASON_TAG: ""}
        with locked(self._store):
            run = self._find_trial(number)
            if run is None:
                own = {
                    "mlflow.parentRunId": self.parent_id,
                    SEARCH_TAG: self._file.name,
                    ROLE_TAG: "trial",
                    TRIAL_TAG: self._trial_key(number),
                    NUMBER_TAG: str(number),
                    BASELINE_TAG: str(baseline).lower(),
                }
                name = f"trial-{number:04d}" + ("-baseline" if baseline else "")
                run = self._client.create_run(self.experiment_id, time_ms, tags=own | tags, run_name=name)
            else:
                self._client.update_run(run.info.run_id, status="RUNNING")
        write(self._client, run.info.run_id, params=config.flat(), tags=tags)
        if self._dataset is not None:
            record_input(self._client, run, self._dataset)
        self._trials[number] = self._load_trial(run)

    def log_epoch(self, number: int, report: EpochReport, *, time_ms: int | None = None) -> None:
        """Write one epoch's metrics (see `log_epochs`)."""
        self.log_epochs(number, [(report, time_ms)])

    @again_if_cut_off
    def log_epochs(self, number: int, reports: Sequence[tuple[EpochReport, int | None]]) -> None:
        """Write the metrics of epochs in one request; an epoch that the run holds already is left as it is.

        Args:
            number: the trial's number.
            reports: each with the time at which it came, in milliseconds since 1970; none: now.

        Raises:
            SearchError: the trial was never begun.
        """
        trial = self._trial(number)
        seconds = dict(trial.seconds)
        steps: list[tuple[int, int | None, Mapping[str, float]]] = []
        for report, time_ms in reports:
            if report.epoch in seconds:
                continue
            seconds[report.epoch] = report.seconds
            # wall_seconds is brought up to date here so that it holds for a trial whose end nobody lived to record.
            own = {EPOCHS: report.epoch, EPOCH_SECONDS: report.seconds, WALL_SECONDS: sum(seconds.values())}
            steps.append((report.epoch, time_ms, {**report.metrics, **report.usage, **own}))
        if steps:
            write_steps(self._client, trial.run_id, steps)
        trial.seconds = seconds

    @again_if_cut_off
    def end_trial(
        self,
        number: int,
        outcome: TrialOutcome,
        reason: str = "",
        *,
        objective: float | None,
        time_ms: int | None = None,
    ) -> None:
        """Close the trial's run with what truly happened.

        Args:
            number: the trial's number.
            outcome: why it ended.
            reason: one line for the reader of the record.
            objective: the value that the study was told; None where it was told none.
            time_ms: when it ended, in milliseconds since 1970; none: now.

        Raises:
            SearchError: the trial was never begun.
            ValueError: the objective is not a finite number, which no study takes.
        """
        if objective is not None and not math.isfinite(objective):
            raise ValueError(f"trial {number}: objective: got {objective}; valid: a finite number or None")
        trial = self._trial(number)
        outcome = TrialOutcome(outcome)
        data = self._client.get_run(trial.run_id).data
        values = {WALL_SECONDS: sum(trial.seconds.values())}
        if objective is not None:
            values[OBJECTIVE] = objective
        metrics = {name: value for name, value in values.items() if data.metrics.get(name) != value}
        tags = {OUTCOME_TAG: str(outcome), REASON_TAG: reason}
        write(self._client, trial.run_id, metrics=metrics, tags=tags, step=max(trial.seconds, default=0))
        self._close(trial.run_id, outcome, time_ms)

    @again_if_cut_off
    def log_progress(self, metrics: Mapping[str, float], *, step: int, time_ms: int | None = None) -> None:
        """Write to the search's run how far it has come; the step is the number of trials that have ended."""
        write(self._client, self.parent_id, metrics=metrics, step=step, time_ms=time_ms)

    @again_if_cut_off
    def log_evidence(self, number: int, folder: Path) -> None:
        """Take a trial's tables and pictures (tracking/evidence) into its run, and remove them; none there, none taken.

        Raises:
            SearchError: the trial was never begun.
        """
        if not folder.is_dir():
            return
        run_id = self._trial(number).run_id
        self._client.log_artifacts(run_id, str(folder), EVIDENCE_FOLDER)
        mark_table(self._client, run_id, CLASS_TABLE_FILE)
        shutil.rmtree(folder)

    @again_if_cut_off
    def end(self, outcome: SearchOutcome) -> None:
        """Close the search's run, and every trial's that still runs as interrupted; write the leaderboard."""
        for run in find_runs(self._client, self.experiment_id, role="trial", search=self._file.name):
            if run.info.status != "RUNNING":
                continue
            told = run.data.tags.get(OUTCOME_TAG, RUNNING)
            if told == RUNNING:
                number = int(run.data.tags[NUMBER_TAG])
                self.end_trial(number, TrialOutcome.INTERRUPTED, "the search ended while it ran", objective=None)
            else:  # killed between an end_trial's two requests
                self._close(run.info.run_id, TrialOutcome(told))
        self._log_leaderboard()
        self._client.set_terminated(self.parent_id, PARENT_STATUS[outcome])

    def epochs_and_seconds(self) -> tuple[int, float]:
        """Epochs of all trials together, and the seconds of their training and evaluation."""
        runs = find_runs(self._client, self.experiment_id, role="trial", search=self._file.name)
        metrics = [run.data.metrics for run in runs]
        return sum(int(own.get(EPOCHS, 0)) for own in metrics), sum(own.get(WALL_SECONDS, 0.0) for own in metrics)

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

    def trial_outcomes(self) -> dict[int, str]:
        """What MLflow says of every trial: its number to its outcome, or to `running`."""
        runs = find_runs(self._client, self.experiment_id, role="trial", search=self._file.name)
        return {int(run.data.tags[NUMBER_TAG]): run.data.tags.get(OUTCOME_TAG, RUNNING) for run in runs}

    def forget(self) -> None:
        """Ask the store again what each trial's run holds."""
        self._trials.clear()

    def link(self, ui: str) -> str:
        """Where the MLflow UI at `ui` shows the search's trials, the best first."""
        objective = self._file.objective
        return run_table_url(ui, self.experiment_id, objective.metric, objective.mode)

    def _trial_key(self, number: int) -> str:
        return f"{self._file.name}-{number:04d}"

    def _find_trial(self, number: int) -> "Run | None":
        found = find_runs(self._client, self.experiment_id, trial=self._trial_key(number))
        return found[0] if found else None

    def _load_trial(self, run: "Run") -> _Trial:
        history = self._client.get_metric_history(run.info.run_id, EPOCH_SECONDS)
        return _Trial(run.info.run_id, {point.step: point.value for point in history})

    def _trial(self, number: int) -> _Trial:
        if number not in self._trials:
            run = self._find_trial(number)
            if run is None:
                raise SearchError(f"search {self._file.name!r} has no trial {number}; valid: one that was begun")
            self._trials[number] = self._load_trial(run)
        return self._trials[number]

    def _close(self, run_id: str, outcome: TrialOutcome, time_ms: int | None = None) -> None:
        # Ending a run that has ended would move its end time.
        if self._client.get_run(run_id).info.status != STATUS[outcome]:
            self._client.set_terminated(run_id, STATUS[outcome], time_ms)

    def _log_leaderboard(self) -> None:
        leaderboard = build_leaderboard(self._client, self._file, self.experiment_id, self.parent_id)
        self._client.log_text(self.parent_id, leaderboard_table(leaderboard), LEADERBOARD_FILE)
        mark_table(self._client, self.parent_id, LEADERBOARD_FILE)
        counts = count_outcomes(leaderboard.rows)
        metrics: dict[str, float] = {f"trials/{name}": counts.get(name, 0) for name in (*TrialOutcome, RUNNING)}
        if leaderboard.rows and leaderboard.rows[0].rank == 1:
            metrics[BEST_OBJECTIVE] = leaderboard.rows[0].objective or 0.0
        ended = sum(counts.get(name, 0) for name in (TrialOutcome.COMPLETED, TrialOutcome.PRUNED, TrialOutcome.FAILED))
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
