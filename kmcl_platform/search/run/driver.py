"""The driver of a search: it hands out trials, and takes their results, over the durable study and the MLflow record.

Order matters, because the driver may be killed between any two lines. The recorder has an epoch or an end on the disk
before the study has it, so that everything in the study is in MLflow too, or will be. What is not in the study yet is
reported again after a restart: the workers repeat the reports of a trial that they continue, and MLflow's record takes
a repeated report without a duplicate.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.aims import find_broken, list_aims, list_constraints, wanted_costs
from kmcl_platform.config.store import Store
from kmcl_platform.errors import PluginError, StoreError
from kmcl_platform.messages import reason_line
from kmcl_platform.plugins.metric import plugin_metrics
from kmcl_platform.plugins.source import to_documents
from kmcl_platform.search.run.assignment import Assignment, Message
from kmcl_platform.search.run.progress_table import SearchView
from kmcl_platform.search.study.checkpoint_retention import drop_checkpoints
from kmcl_platform.search.study.compared_trials import compare_with_baselines
from kmcl_platform.search.study.ended_trials import TrialEnd, judge_epoch
from kmcl_platform.search.study.point import Point
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.database.store_errors import find_trouble
from kmcl_platform.tracking.runs.names import BEST_OBJECTIVE, RUNNING, TrialOutcome
from kmcl_platform.tracking.writing.recorder import Recorder
from kmcl_platform.training.checkpoints.checkpoint_folder import find_checkpoint

_logger = logging.getLogger(__name__)


class SearchDriver:
    """Hands out points, takes the report of every epoch, and decides when a trial ends and why."""

    def __init__(
        self, file: SearchFile, store: Store, study: DurableStudy, recorder: Recorder, view: SearchView
    ) -> None:
        self._file = file
        self._store = store
        self._study = study
        self._recorder = recorder
        self._view = view
        self._open: dict[str, Point] = {}
        self.trouble: StoreError | PluginError | None = None
        """Why the search cannot continue, for example a full disk or a faulty sampler. Trials that run stay open."""

    def next_trial(self, key: str) -> Assignment | None:
        """The next trial. None: no point is left, or the search cannot continue.

        Args:
            key: the caller's name of the trial, for the other methods.
        """
        with self._watching():
            return self._next_trial(key)
        return None

    def _next_trial(self, key: str) -> Assignment | None:
        point = self._study.next_point()
        if point is None:
            return None
        # A kill before the next line leaves a trial that only the study knows; the next start hands it out again.
        self._open[key] = point
        self._recorder.begin_trial(
            point.number, point.config, baseline=bool(point.baseline), baseline_name=point.baseline, source=point.source
        )
        self._view.trial_started(point.number, point.reached, point.source)
        return {
            "number": point.number,
            "config": point.config.model_dump(),
            "checkpoints": str(self._store.trial_checkpoints(self._file.name, point.number)),
            "data_dir": str(self._store.data),
            "features_dir": str(self._store.features),
            "working_dir": str(Path.cwd()),
            "content_hash": self._study.inputs.data,
            "stopping_epochs": self._file.scheduler.stopping_epochs(self._file.base.num_epochs),
            "checkpoint_minutes": self._file.resources.checkpoint_minutes,
            "plugins": to_documents(point.config.plugins),
            "costs": wanted_costs(self._file),
            "limits": {one.metric: one.bound for one in list_constraints(self._file)},
            "serving_device": self._file.serving_device,
            "features_hash": self._study.inputs.features.get(point.config.data.features or "", ""),
        }

    def reached(self, key: str) -> int:
        """The last epoch of an open trial that the study knows; 0: none."""
        return self._open[key].reached

    def lose(self, key: str, reason: str) -> None:
        """End a trial that will send no result; every other end is settled when the trial's last result comes.

        A trial that the caller ends for a reason of its own, such as Ctrl-C, stays open in the study, to be continued.
        """
        if (point := self._open.get(key)) is not None:
            with self._watching():
                self._settle(key, point, "failed", reason)

    def take(self, key: str, message: Message) -> bool:
        """Take one result of a trial.

        Returns:
            Whether the trial must end. If the search cannot continue, it stays open in the study.
        """
        point = self._open.get(key)
        # Without a point, an earlier result has already ended the trial. In trouble, nothing more can be recorded.
        if point is None or self.trouble is not None:
            return True
        with self._watching():
            return self._take(key, point, message)
        return True

    def _take(self, key: str, point: Point, message: Message) -> bool:
        if "note" in message:
            self._view.say(f"trial {point.number}: {message['note']}")
            return False
        # An exception and not an end: the trial is not at fault, and must stay open in the study.
        if "trouble" in message:
            raise StoreError(message["trouble"])
        if "diverged" in message:
            self._settle(key, point, "diverged", message["diverged"])
            return True
        if costs := message.get("refused"):
            self._study.note_aims(point.number, costs)
            self._settle(key, point, "pruned", find_broken(self._file, costs) or "", costs=costs)
            return True
        if "failure" in message:
            self._settle(key, point, "failed", message["failure"])
            return True
        return self._take_reports(
            key, point, [EpochReport.model_validate(one) for one in (*message.get("earlier", []), message["report"])]
        )

    def _take_reports(self, key: str, point: Point, reports: list[EpochReport]) -> bool:
        # A trial ends with the first epoch that has no value of the objective. Those after it do not count.
        if None in (values := [report.metrics.get(self._file.objective.metric) for report in reports]):
            reports = reports[: values.index(None) + 1]
        # The record first, then the study: see the top of this module. In one write, because each waits for the disk.
        self._recorder.log_epochs(point.number, reports)
        return any(self._take_report(key, point, report) for report in reports)

    def _take_report(self, key: str, point: Point, report: EpochReport) -> bool:
        value = report.metrics.get(self._file.objective.metric)
        if value is None:
            own = self._file.objective.metric.removeprefix("val/") in plugin_metrics(point.config.plugins)
            why = "it gave no finite number" if own else "no class has a positive label"
            reason = f"{self._file.objective.metric} is undefined: {why} in its split"
            self._settle(key, point, "failed", reason)
            return True
        aims = {name: report.metrics[name] for name in list_aims(self._file) if name in report.metrics}
        if missing := set(list_aims(self._file)) - aims.keys():
            self._settle(
                key, point, "failed", f"{', '.join(sorted(missing))} is undefined: the trial did not report it"
            )
            return True
        end = judge_epoch(
            self._study,
            point,
            report.epoch,
            value,
            seconds=report.seconds,
            num_epochs=self._file.base.num_epochs,
            aims=aims,
        )
        self._log_progress(urgent=False)
        self._view.epoch_finished(point.number, report, value)
        if end is not None:
            reason = self._study.stop_reason(point.number) if end == "pruned" else ""
            self._settle(key, point, end, reason, value)
        return end is not None

    def say(self, line: str) -> None:
        """Print a line for the user."""
        self._view.say(line)

    def resize(self, places: int) -> None:
        """Note that from now on another number of trials may run at the same time."""
        self._view.say(f"the cluster has changed: {places} at once")
        with self._watching():
            self._study.ledger.resize(places)

    def must_end(self) -> bool:
        """Whether the search's time is spent, or it cannot continue; trials that run at that time stay open.

        Call it often: it charges the time, and notices its end also when no trial reports. A search whose time is not
        spent ends when no point is left.
        """
        # In trouble, another write would fail again, or wait minutes for a database that is away.
        if self.trouble is None:
            with self._watching():
                self._study.charge_time()
        return self.trouble is not None or self._study.ledger.time_spent() is not None

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Keep trouble with the store until the end: inside Tune, an error would look like one of Tune's own."""
        try:
            yield
        except Exception as error:
            # The code of the trials does not run here: it is that of the sampler or of the scheduler.
            self.trouble = find_trouble(error, self._store) or (error if isinstance(error, PluginError) else None)
            if self.trouble is None:
                raise

    def _settle(
        self,
        key: str,
        point: Point,
        end: TrialEnd,
        reason: str,
        value: float | None = None,
        costs: Mapping[str, float] | None = None,
    ) -> None:
        self._open.pop(key)
        outcome, reason = TrialOutcome(end), reason_line(reason)
        if end in ("failed", "diverged"):
            _logger.warning("search %s: trial %d %s: %s", self._file.name, point.number, end, reason)
        # The order is that of a kill: scores are copied before their checkpoint may go; MLflow's record has the end
        # before the study has it; the study decides which checkpoints go. The next start repeats what is missing.
        checkpoint = find_checkpoint(self._store.trial_checkpoints(self._file.name, point.number))
        # Drawing the pictures of every trial would take too long.
        kept = self._file.budget.checkpoints
        pictures = bool(point.baseline) or self._study.ended.is_among_best(value, kept)
        self._recorder.queue_scores(point.number, checkpoint, outcome, baseline=point.is_base, pictures=pictures)
        self._recorder.end_trial(point.number, outcome, reason, objective=value, costs=costs)
        # Optuna keeps the last intermediate value of a pruned trial by itself.
        self._study.tell(point.number, end, value if end == "completed" else None)
        drop_checkpoints(self._store, self._file.name, self._study, keep=kept)
        self._log_progress(urgent=True)
        best, comparison = self._study.best_value(), str(compare_with_baselines(self._study) or "")
        self._view.trial_ended(point.number, end, reason, value, best, comparison)

    def _log_progress(self, *, urgent: bool) -> None:
        # Every epoch of every trial comes here, and each write becomes a request to MLflow.
        if not urgent and not self._recorder.progress_is_due():
            return
        ends = Counter(self._study.ended.ends.values())
        metrics = {f"trials/{name}": float(ends[name]) for name in get_args(TrialEnd)}
        metrics[f"trials/{RUNNING}"] = float(len(self._open))
        metrics |= self._study.ledger.metrics()
        if (best := self._study.best_value()) is not None:
            metrics[BEST_OBJECTIVE] = best
        self._recorder.log_progress(metrics, ended=ends.total())
