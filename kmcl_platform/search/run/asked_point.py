"""`AskedPoint`: one trial of a search that is trained by the user's own code."""

import math
import operator
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.reports.trial_columns import find_metric_problem
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.errors import SearchError
from kmcl_platform.files.atomic_write import make_folder
from kmcl_platform.messages import show_value
from kmcl_platform.search.run.assignment import Assignment, Message
from kmcl_platform.search.run.driver import SearchDriver


class AskedPoint:
    """One trial to train.

    Attributes:
        number: its number in the search, from 0.
        values: what to train with: the own values by their names, or the searched values by their paths.
        config: the whole configuration, for a search with the platform's own fields.
        num_epochs: epochs of a whole trial.
        reached: the last epoch that the search knows; 0: none. A search that was killed hands out its open trials
            again. Epochs up to this one may be trained and reported again; that changes nothing.
        folder: for files of this trial, such as a checkpoint. When the trial has ended, the folder is kept only if the
            trial is one of the best (`budget.checkpoints`).
        ended: whether there is nothing more to report.
    """

    def __init__(self, driver: SearchDriver, file: SearchFile, key: str, assignment: Assignment) -> None:
        config = TrialConfig.model_validate(assignment["config"])
        self.number = assignment["number"]
        self.config = config
        self.values = _values(file, config)
        self.num_epochs = config.num_epochs
        self.reached = driver.reached(key)
        self.ended = False
        # The trial's own folder may have checkpoints in the platform's form only.
        self._folder = Path(assignment["checkpoints"]) / ("own" if config.own else "")
        self._driver = driver
        self._metric = file.objective.metric
        self._key = key
        self._epoch = 0
        """The last epoch that was reported here; after a kill, epochs up to `reached` may come again."""
        self._last = time.monotonic()

    def __repr__(self) -> str:
        return f"AskedPoint(number={self.number}, values={self.values})"

    @property
    def folder(self) -> Path:
        """See the class; it is made when it is first used."""
        make_folder(self._folder)
        return self._folder

    def report(
        self, epoch: int, value: float, metrics: Mapping[str, float] | None = None, *, seconds: float | None = None
    ) -> bool:
        """Report the end of an epoch.

        Args:
            epoch: its number, from 1, later than that of the report before. Epochs may be left out. The trial is
                complete after the last one.
            value: the objective after it. If it is not finite, the trial has diverged, and ends.
            metrics: further metrics for the record, by name.
            seconds: how long the epoch took. None: the time since the last report.

        Returns:
            Whether the training must stop: the trial is complete or was stopped early, or the time of the search is
            spent. In the last case it stays open, and is handed out again when the budget is raised.

        Raises:
            SearchError: the epoch, a number or the name of a metric is not valid; nothing was recorded.
            StoreError: the store cannot be written to, for example because the disk is full.
        """
        if self.ended:
            return True
        # All of it is checked before anything is recorded.
        epoch = self._read_epoch(epoch)
        found = self._read_metrics({} if metrics is None else metrics)
        value = self._read_number(self._metric, value)
        now = time.monotonic()
        took = now - self._last if seconds is None else self._read_number("seconds", seconds)
        if math.isfinite(value):
            report = EpochReport(epoch=epoch, metrics=found | {self._metric: value}, seconds=took)
            message: Message = {"report": report.model_dump()}
        else:
            message = {"diverged": f"{self._metric} is {value} after epoch {epoch}"}
        self._epoch, self._last = epoch, now
        return self._take(message)

    def tell(self, value: float, metrics: Mapping[str, float] | None = None) -> None:
        """End the trial with its final value, as a report of its last epoch; one that has ended stays as it is."""
        self.report(self.num_epochs, value, metrics)

    def fail(self, reason: str) -> None:
        """End the trial as failed; `reason` is one line for the record, and is cut if it is long."""
        if not isinstance(reason, str):
            raise self._refuse("reason", reason, "text, such as str(error)")
        if not self.ended:
            self._take({"failure": reason.strip() or "no reason was given"})

    def _read_epoch(self, epoch: object) -> int:
        try:
            number = 0 if isinstance(epoch, bool) else operator.index(epoch)  # type: ignore[arg-type]
        except TypeError:
            number = 0
        if not 1 <= number <= self.num_epochs:
            raise self._refuse("epoch", epoch, f"a whole number from 1 to {self.num_epochs}")
        if number <= self._epoch:
            raise self._refuse("epoch", epoch, f"a later one than {self._epoch}, which was reported last")
        return number

    def _read_metrics(self, metrics: object) -> dict[str, float]:
        if not isinstance(metrics, Mapping):
            raise self._refuse("metrics", metrics, "a mapping of names to numbers, such as {'train/loss': 0.5}")
        for name in metrics:
            if problem := find_metric_problem(name):
                raise SearchError(f"trial {self.number}: metrics: {problem}, {self._metric}")
            if name == self._metric:
                raise self._refuse("metrics", name, "another name, because that is the objective, the argument `value`")
        return {name: self._read_number(f"metrics: {name}", value) for name, value in metrics.items()}

    def _read_number(self, field: str, value: object) -> float:
        # Numbers of numpy and torch too. Python would also read text as a number, and True as 1.
        if not isinstance(value, str | bytes | bytearray | bool):
            # Tensors with several numbers are a RuntimeError, arrays a TypeError, huge whole numbers an OverflowError.
            with suppress(TypeError, ValueError, RuntimeError, OverflowError):
                return float(value)  # type: ignore[arg-type]
        raise self._refuse(field, value, "one number")

    def _refuse(self, field: str, value: object, valid: str) -> SearchError:
        return SearchError(f"trial {self.number}: {field}: got {' '.join(show_value(value).split())}; valid: {valid}")

    def _take(self, message: Message) -> bool:
        self.ended = self._driver.take(self._key, message) or self._driver.must_end()
        if self._driver.trouble:
            raise self._driver.trouble
        return self.ended


def _values(file: SearchFile, config: TrialConfig) -> dict[str, Scalar]:
    if config.own:
        return dict(config.own)
    values = config.flat()
    return {path: values[path] for path in file.space}
