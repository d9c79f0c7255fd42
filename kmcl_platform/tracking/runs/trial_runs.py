"""TrialRuns: MLflow's runs of a search's trials, each found again by its trial's key."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from kmcl_platform.tracking.runs.names import (
    BASELINE_TAG,
    CLASS_TABLE_FILE,
    EPOCH_SECONDS,
    EPOCHS,
    FIGURES_FOLDER,
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
from kmcl_platform.tracking.runs.ui_tables import mark_table

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run


@dataclass
class _Trial:
    """A child run, and the seconds of every epoch that it holds."""

    run_id: str
    seconds: dict[int, float]


class TrialRuns:
    """A child run of the search's run for each trial.

    Everything here may be repeated, by this process or a later one, without writing anything twice.
    """

    def __init__(
        self,
        store: Store,
        client: "MlflowClient",
        search: str,
        experiment_id: str,
        parent_id: str,
        dataset: "DatasetInput | None",
    ) -> None:
        """
        Args:
            store: where they are kept.
            client: connected to it.
            search: the search's name.
            experiment_id: the search's experiment.
            parent_id: the search's run.
            dataset: the input of every run that is begun; none leaves that as it is.
        """
        self._store = store
        self._client = client
        self._search = search
        self._experiment_id = experiment_id
        self._parent_id = parent_id
        self._dataset = dataset
        self._trials: dict[int, _Trial] = {}

    @again_if_cut_off
    def begin(self, number: int, config: TrialConfig, *, baseline: bool, time_ms: int | None = None) -> None:
        """Open the trial's run, which holds every value of its config as a param; an ended one is running again.

        Args:
            number: the trial's number.
            config: its values.
            baseline: whether it is the search file's base as it stands.
            time_ms: when it began, in milliseconds since 1970; none: now.
        """
        tags = {OUTCOME_TAG: RUNNING, REASON_TAG: ""}
        with locked(self._store):
            run = self._find(number)
            if run is None:
                own = {
                    "mlflow.parentRunId": self._parent_id,
                    SEARCH_TAG: self._search,
                    ROLE_TAG: "trial",
                    TRIAL_TAG: self._key(number),
                    NUMBER_TAG: str(number),
                    BASELINE_TAG: str(baseline).lower(),
                }
                name = f"trial-{number:04d}" + ("-baseline" if baseline else "")
                run = self._client.create_run(self._experiment_id, time_ms, tags=own | tags, run_name=name)
            else:
                self._client.update_run(run.info.run_id, status="RUNNING")
        write(self._client, run.info.run_id, params=config.flat(), tags=tags)
        if self._dataset is not None:
            record_input(self._client, run, self._dataset)
        self._trials[number] = self._load(run)

    @again_if_cut_off
    def log_epochs(self, number: int, reports: Sequence[tuple[EpochReport, int | None]]) -> None:
        """Write the metrics of epochs in one request; an epoch that the run holds already is left as it is.

        Args:
            number: the trial's number.
            reports: each with the time at which it came, in milliseconds since 1970; none: now.

        Raises:
            SearchError: the trial was never begun.
        """
        trial = self._known(number)
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
    def end(
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
        trial = self._known(number)
        outcome = TrialOutcome(outcome)
        data = self._client.get_run(trial.run_id).data
        values = {WALL_SECONDS: sum(trial.seconds.values())}
        if objective is not None:
            values[OBJECTIVE] = objective
        metrics = {name: value for name, value in values.items() if data.metrics.get(name) != value}
        tags = {OUTCOME_TAG: str(outcome), REASON_TAG: bound_line(mask_passwords(reason))}
        write(self._client, trial.run_id, metrics=metrics, tags=tags, step=max(trial.seconds, default=0))
        self._close(trial.run_id, outcome, time_ms)

    @again_if_cut_off
    def log_figures(self, number: int, folder: Path) -> None:
        """Copy a trial's table and pictures (tracking/figures) into its run, then delete their folder.

        Args:
            number: the trial's number.
            folder: where they are. If it does not exist, an earlier call has logged them.

        Raises:
            SearchError: the trial was never begun.
        """
        if not folder.is_dir():
            return
        run_id = self._known(number).run_id
        self._client.log_artifacts(run_id, str(folder), FIGURES_FOLDER)
        mark_table(self._client, run_id, CLASS_TABLE_FILE)
        shutil.rmtree(folder)

    def end_open(self) -> None:
        """Close every run that still runs, as interrupted unless its trial's end was told."""
        for run in self._all():
            if run.info.status != "RUNNING":
                continue
            told = run.data.tags.get(OUTCOME_TAG, RUNNING)
            if told == RUNNING:
                number = int(run.data.tags[NUMBER_TAG])
                self.end(number, TrialOutcome.INTERRUPTED, "the search ended while it ran", objective=None)
            else:  # killed between an end's two requests
                self._close(run.info.run_id, TrialOutcome(told))

    def epochs_and_seconds(self) -> tuple[int, float]:
        """Epochs of all trials together, and the seconds of their training and evaluation."""
        runs = self._all()
        metrics = [run.data.metrics for run in runs]
        return sum(int(own.get(EPOCHS, 0)) for own in metrics), sum(own.get(WALL_SECONDS, 0.0) for own in metrics)

    def outcomes(self) -> dict[int, str]:
        """What MLflow says of every trial: its number to its outcome, or to `running`."""
        runs = self._all()
        return {int(run.data.tags[NUMBER_TAG]): run.data.tags.get(OUTCOME_TAG, RUNNING) for run in runs}

    def forget(self) -> None:
        """Ask the store again what each trial's run holds."""
        self._trials.clear()

    def _all(self) -> "list[Run]":
        return find_runs(self._client, self._experiment_id, role="trial", search=self._search)

    def _key(self, number: int) -> str:
        return f"{self._search}-{number:04d}"

    def _find(self, number: int) -> "Run | None":
        found = find_runs(self._client, self._experiment_id, trial=self._key(number))
        return found[0] if found else None

    def _load(self, run: "Run") -> _Trial:
        history = self._client.get_metric_history(run.info.run_id, EPOCH_SECONDS)
        return _Trial(run.info.run_id, {point.step: point.value for point in history})

    def _known(self, number: int) -> _Trial:
        if number not in self._trials:
            run = self._find(number)
            if run is None:
                raise SearchError(f"search {self._search!r} has no trial {number}; valid: one that was begun")
            self._trials[number] = self._load(run)
        return self._trials[number]

    def _close(self, run_id: str, outcome: TrialOutcome, time_ms: int | None = None) -> None:
        # Ending a run that has ended would move its end time.
        if self._client.get_run(run_id).info.status != STATUS[outcome]:
            self._client.set_terminated(run_id, STATUS[outcome], time_ms)
