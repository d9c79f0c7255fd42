"""`AskedPoint`: one trial of a search that is trained by the user's own code."""

import math
import re
import time
from collections.abc import Mapping
from pathlib import Path

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.errors import SearchError
from kmcl_platform.files.atomic_write import make_folder
from kmcl_platform.messages import show_value
from kmcl_platform.search.run.assignment import Assignment, Message
from kmcl_platform.search.run.driver import SearchDriver
from kmcl_platform.tracking.runs.names import EPOCH_SECONDS, EPOCHS, OBJECTIVE, WALL_SECONDS

_RESERVED = (EPOCHS, EPOCH_SECONDS, WALL_SECONDS, OBJECTIVE)
"""Metrics that the record writes for each trial."""


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
            epoch: its number, from 1. The trial is complete after the last one.
            value: the objective after it. If it is not finite, the trial has diverged, and ends.
            metrics: further metrics for the record, by name.
            seconds: how long the epoch took. None: the time since the last report.

        Returns:
            Whether the training must stop: the trial is complete or was stopped early, or the time of the search is
            spent. In the last case it stays open, and is handed out again when the budget is raised.

        Raises:
            SearchError: the epoch or the name of a metric is not valid.
            StoreError: the store cannot be written to, for example because the disk is full.
        """
        if self.ended:
            return True
        if not 1 <= epoch <= self.num_epochs:
            raise SearchError(f"trial {self.number}: epoch: got {epoch}; valid: 1 to {self.num_epochs}")
        for name in metrics or {}:
            if not re.fullmatch(r"[\w./ -]{1,200}", name) or name in (*_RESERVED, self._metric):
                raise SearchError(
                    f"trial {self.number}: metrics: got {show_value(name)}; valid: a name of letters, digits, _ - . / "
                    f"and spaces, and none of {', '.join((*_RESERVED, self._metric))}"
                )
        now = time.monotonic()
        took, self._last = now - self._last if seconds is None else seconds, now
        value = float(value)
        if not math.isfinite(value):
            return self._take({"diverged": f"{self._metric} is {value} after epoch {epoch}"})
        found = {name: float(one) for name, one in (metrics or {}).items()}
        report = EpochReport(epoch=epoch, metrics=found | {self._metric: value}, seconds=took)
        return self._take({"report": report.model_dump()})

    def tell(self, value: float, metrics: Mapping[str, float] | None = None) -> None:
        """End the trial with its final value, as a report of its last epoch; one that has ended stays as it is."""
        self.report(self.num_epochs, value, metrics)

    def fail(self, reason: str) -> None:
        """End the trial as failed; `reason` is one line for the record."""
        if not self.ended:
            self._take({"failure": " ".join(reason.split()) or "no reason was given"})

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
