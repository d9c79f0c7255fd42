"""TrialRuns: MLflow's runs of a search's trials; each is found again by its trial's key."""

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.store import Store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import SearchError
from kmcl_platform.messages import bound_line, mask_passwords
from kmcl_platform.tracking.database import find_runs, locked, write, write_steps
from kmcl_platform.tracking.database.http_retries import again_if_cut_off
from kmcl_platform.tracking.runs.dataset_input import record_input
from kmcl_platform.tracking.runs.known_run import KnownRun, read_known
from kmcl_platform.tracking.runs.names import (
    CLASS_TABLE_FILE,
    FIGURES_FOLDER,
    NUMBER_TAG,
    OBJECTIVE,
    OUTCOME_TAG,
    REASON_TAG,
    ROLE_TAG,
    RUNNING,
    SEARCH_TAG,
    STATUS,
    STORE_TAG,
    TRIAL_TAG,
    WALL_SECONDS,
    TrialOutcome,
    origin_tags,
    trial_number,
    trial_run_name,
)
from kmcl_platform.tracking.runs.ownership import is_own_run
from kmcl_platform.tracking.runs.ui_tables import mark_table

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run


class TrialRuns:
    """One child run of the search's run for each trial.

    Every method may be repeated, by this process or a later one, without writing anything twice. `log_epochs`, `end`
    and `log_figures` raise SearchError if the trial was never begun.
    """

    def __init__(
        self,
        store: Store,
        client: "MlflowClient",
        search: str,
        experiment_id: str,
        parent_id: str,
        dataset: "DatasetInput | None",
        owner: str | None,
    ) -> None:
        """
        Args:
            store, client: where the runs are.
            search, experiment_id, parent_id: the search's name, experiment and run.
            dataset: the input of every run that begins. None: inputs stay as they are.
            owner: the store's id; None: it has none yet.
        """
        self._store = store
        self._client = client
        self._search = search
        self._experiment_id = experiment_id
        self._parent_id = parent_id
        self._dataset = dataset
        self._owner = owner
        self._trials: dict[int, KnownRun] = {}

    @again_if_cut_off
    def begin(
        self,
        number: int,
        config: TrialConfig,
        *,
        baseline: bool,
        baseline_name: str = "",
        source: str = "",
        time_ms: int | None = None,
    ) -> None:
        """Open the trial's run, with every value of its config as a param. A run that has ended is opened again.

        Args:
            number, config: the trial's number and values.
            baseline: whether it is the base of the search file, or another baseline.
            baseline_name: the baseline's name; empty: not a baseline, or one that an older version began.
            source: the trial of an earlier search that had this point; empty: none.
            time_ms: when it began, in milliseconds since 1970. None: now.
        """
        tags = {OUTCOME_TAG: RUNNING, REASON_TAG: ""}
        with locked(self._store):
            run = self._find(number)
            if run is None:
                own = {STORE_TAG: self._owner} if self._owner else {}
                own |= {
                    "mlflow.parentRunId": self._parent_id,
                    SEARCH_TAG: self._search,
                    ROLE_TAG: "trial",
                    TRIAL_TAG: self._key(number),
                    NUMBER_TAG: str(number),
                    **origin_tags(baseline, baseline_name, source),
                }
                name = trial_run_name(number, baseline, baseline_name)
                run = self._client.create_run(self._experiment_id, time_ms, tags=own | tags, run_name=name)
            else:
                self._client.update_run(run.info.run_id, status="RUNNING")
        write(self._client, run.info.run_id, params=config.flat(), tags=tags)
        if self._dataset is not None:
            record_input(self._client, run, self._dataset)
        # A run that is opened again has epochs already; `log_epochs` must know them.
        self._trials[number] = read_known(self._client, run)

    @again_if_cut_off
    def log_epochs(self, number: int, reports: Sequence[tuple[EpochReport, int | None]]) -> None:
        """Write the metrics of epochs, and the devices, in one request; epochs that the run has are not changed.

        `reports`: each with the time when it was made, in milliseconds since 1970. None: now.
        """
        trial = self._known(number)
        after, steps = trial.with_epochs(reports)
        if steps:
            write_steps(self._client, trial.run_id, steps, tags=after.tags if after.tags != trial.tags else {})
        # Only after the request: if it fails, a repeated call must write these epochs.
        self._trials[number] = after

    @again_if_cut_off
    def end(
        self,
        number: int,
        outcome: TrialOutcome,
        reason: str = "",
        *,
        objective: float | None,
        costs: Mapping[str, float] | None = None,
        time_ms: int | None = None,
    ) -> None:
        """Close the trial's run with its outcome.

        Args:
            number: the trial's number.
            outcome: why it ended.
            reason: one line for readers of the record; passwords in it are masked.
            objective: the study's value of the trial. None: the study has none.
            costs: of its model, if it ended without an epoch, whose report would have them.
            time_ms: when it ended, in milliseconds since 1970. None: now.

        Raises:
            ValueError: the objective is not a finite number; no study takes it.
        """
        if objective is not None and not math.isfinite(objective):
            raise ValueError(f"trial {number}: objective: got {objective}; valid: a finite number or None")
        trial = self._known(number)
        outcome = TrialOutcome(outcome)
        data = self._client.get_run(trial.run_id).data
        values = {WALL_SECONDS: sum(trial.seconds.values())} | dict(costs or {})
        if objective is not None:
            values[OBJECTIVE] = objective
        # MLflow would append an equal value with another time as a second point.
        metrics = {name: value for name, value in values.items() if data.metrics.get(name) != value}
        tags = {OUTCOME_TAG: str(outcome), REASON_TAG: bound_line(mask_passwords(reason))}
        write(self._client, trial.run_id, metrics=metrics, tags=tags, step=max(trial.seconds, default=0))
        # After the outcome: a kill in between leaves an open run that says how it ended, and `end_open` closes it.
        self._close(trial.run_id, outcome, time_ms)

    @again_if_cut_off
    def log_figures(self, number: int, folder: Path) -> None:
        """Copy a trial's table and pictures (tracking/figures) into its run, then delete their folder.

        If the folder does not exist, an earlier call has logged them.
        """
        if not folder.is_dir():
            return
        run_id = self._known(number).run_id
        self._client.log_artifacts(run_id, str(folder), FIGURES_FOLDER)
        mark_table(self._client, run_id, CLASS_TABLE_FILE)
        # Last: after a kill before this line, the next call logs the same files again.
        shutil.rmtree(folder)

    def end_open(self) -> None:
        """Close every run that still runs: with its outcome if that is recorded, else as interrupted."""
        for run in self.all_runs():
            if run.info.status != "RUNNING":
                continue
            outcome = run.data.tags.get(OUTCOME_TAG, RUNNING)
            if outcome == RUNNING:
                self.end(trial_number(run), TrialOutcome.INTERRUPTED, "the search ended while it ran", objective=None)
            else:  # A process was killed between the two requests of `end`.
                self._close(run.info.run_id, TrialOutcome(outcome))

    def outcomes(self) -> dict[int, str]:
        """For every trial, by its number: its outcome in MLflow, or `running`."""
        return {trial_number(run): run.data.tags.get(OUTCOME_TAG, RUNNING) for run in self.all_runs()}

    def forget(self) -> None:
        """Forget the data of the runs; the next call reads it from MLflow again."""
        self._trials.clear()

    def all_runs(self) -> "list[Run]":
        """The runs of all trials, oldest first."""
        found = find_runs(self._client, self._experiment_id, role="trial", search=self._search)
        return [run for run in found if is_own_run(self._store, run, self._owner)]

    def _key(self, number: int) -> str:
        return f"{self._search}-{number:04d}"

    def _find(self, number: int) -> "Run | None":
        found = find_runs(self._client, self._experiment_id, trial=self._key(number))
        return next((run for run in found if is_own_run(self._store, run, self._owner)), None)

    def _known(self, number: int) -> KnownRun:
        if number not in self._trials:
            run = self._find(number)
            if run is None:
                raise SearchError(f"search {self._search!r} has no trial {number}; valid: one that was begun")
            self._trials[number] = read_known(self._client, run)
        return self._trials[number]

    def _close(self, run_id: str, outcome: TrialOutcome, time_ms: int | None = None) -> None:
        # To end a run a second time would change its end time.
        if self._client.get_run(run_id).info.status != STATUS[outcome]:
            self._client.set_terminated(run_id, STATUS[outcome], time_ms)
