"""Ask and tell: a search whose trials are trained by the user's own code.

The study, the decisions about stopping and the record are those of every search: the same driver hands out the points
and takes the results.
"""

import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import SearchSource, open_source
from kmcl_platform.config.store import Store
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.errors import ConfigError, SearchError
from kmcl_platform.files.atomic_write import make_folder
from kmcl_platform.messages import show_value
from kmcl_platform.search.run.assignment import Assignment, Message
from kmcl_platform.search.run.driver import SearchDriver
from kmcl_platform.search.run.run_search import prepare
from kmcl_platform.search.run.running_search import SearchSummary, running, say_on
from kmcl_platform.search.run.single_search import complete_record, opened_study
from kmcl_platform.tracking.database.store_errors import find_trouble
from kmcl_platform.tracking.runs.names import EPOCH_SECONDS, EPOCHS, OBJECTIVE, WALL_SECONDS

_NOT_POSSIBLE = ("arms", "verdict", "finalists")
"""Parts of a search file that train trials again."""

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


class OpenSearch:
    """A search that is open: it hands out points, and takes their results.

    Attributes:
        file: the search.
        summary: how it ended; None while it is open.
    """

    def __init__(self, file: SearchFile, driver: SearchDriver | None) -> None:
        self.file = file
        self.summary: SearchSummary | None = None
        # None: nothing is left to run.
        self._driver = driver
        self._open: list[AskedPoint] = []
        self._latest: AskedPoint | None = None
        self._num_asked = 0

    def ask(self, at_once: int = 1) -> Iterator[AskedPoint]:
        """The points to train, until the budget is spent.

        Args:
            at_once: how many may be open at the same time, for code that trains several.

        Raises:
            SearchError: the next point is asked for, and `at_once` points have not ended.
            StoreError: the store cannot be written to.
        """
        while (point := self._next(at_once)) is not None:
            yield point

    def report(self, epoch: int, value: float, metrics: Mapping[str, float] | None = None) -> bool:
        """`AskedPoint.report` of the point that was asked last."""
        return self._last_point().report(epoch, value, metrics)

    def tell(self, value: float, metrics: Mapping[str, float] | None = None) -> None:
        """`AskedPoint.tell` of the point that was asked last."""
        self._last_point().tell(value, metrics)

    def _next(self, at_once: int) -> AskedPoint | None:
        driver = self._driver
        if driver is None or driver.must_end():
            return None
        self._open = [point for point in self._open if not point.ended]
        if len(self._open) >= at_once:
            first = self._open[0]
            raise SearchError(
                f"trial {first.number}: has not ended; valid: report all of its {first.num_epochs} epochs, or call "
                f"tell or fail, before the next point (at_once is {at_once})"
            )
        key = f"asked {self._num_asked}"
        self._num_asked += 1
        assignment = driver.next_trial(key)
        if driver.trouble:
            raise driver.trouble
        if assignment is None:
            return None
        self._latest = AskedPoint(driver, self.file, key, assignment)
        self._open.append(self._latest)
        return self._latest

    def _last_point(self) -> AskedPoint:
        if self._latest is None:
            raise SearchError(f"search {self.file.name!r}: no point was asked; valid: for point in SEARCH.ask()")
        return self._latest


class _OwnCode:
    """The user's code as a runner: nothing is started, and the figures of the platform are not drawn."""

    draws_here = True

    def check(self, file: SearchFile) -> None:
        """See `Runner`."""

    def start(self, file: SearchFile) -> int:
        """See `Runner`."""
        return 1

    def run(self, file: SearchFile, driver: SearchDriver, concurrency: int) -> None:
        """See `Runner`: the block of `open_own` does it."""

    def stop(self) -> None:
        """See `Runner`."""


@contextmanager
def open_own(source: SearchSource, store: Store, console: Console) -> Iterator[OpenSearch]:
    """Open a search for the user's own training, and close it after the block; see `open_search` of the API.

    Ctrl-C inside the block is no error here: the summary is then `interrupted`.

    Raises:
        KmclError: as `run_search`.
    """
    document = open_source(source)
    file = document.parse()
    for name in _NOT_POSSIBLE:
        if getattr(file, name):
            raise ConfigError(
                f"{document.origin}: {name}: got some; valid: none with open_search, because it repeats no trial"
            )
    try:
        inputs = prepare(file, document.origin, [file], store)
        with opened_study(file, store, console, inputs) as study:
            if study.end_of_budget():
                found = OpenSearch(study.file, None)
                found.summary = complete_record(store, study, console, _OwnCode())
                yield found
                return
            with running(study.file, document.content, document.origin, store, study, console, _OwnCode()) as search:
                found = OpenSearch(study.file, search.driver)
                yield found
            found.summary = search.summary()
            say_on(console)(_ending(found.summary))
    except Exception as error:
        if (trouble := find_trouble(error, store)) and trouble is not error:
            raise trouble from None
        raise


def _ending(summary: SearchSummary) -> str:
    if summary.interrupted:
        return f"search {summary.search}: stopped with trials left; the same code continues it"
    return f"search {summary.search}: finished ({summary.reason})"


def _values(file: SearchFile, config: TrialConfig) -> dict[str, Scalar]:
    if config.own:
        return dict(config.own)
    values = config.flat()
    return {path: values[path] for path in file.space}
