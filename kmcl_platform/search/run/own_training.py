"""Ask and tell: a search whose trials are trained by the user's own code.

The study, the decisions about stopping and the record are those of every search: the same driver hands out the points
and takes the results.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import SearchSource, open_source
from kmcl_platform.config.store import Store
from kmcl_platform.errors import ConfigError, SearchError
from kmcl_platform.messages import show_value
from kmcl_platform.search.run.asked_point import AskedPoint
from kmcl_platform.search.run.driver import SearchDriver
from kmcl_platform.search.run.run_search import prepare
from kmcl_platform.search.run.running_search import SearchSummary, running, say_on
from kmcl_platform.search.run.single_search import complete_record, opened_study
from kmcl_platform.tracking.database.store_errors import find_trouble

_NOT_POSSIBLE = ("arms", "verdict", "finalists")
"""Parts of a search file that train trials again."""


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
        if not isinstance(at_once, int) or isinstance(at_once, bool) or at_once < 1:
            raise SearchError(f"at_once: got {show_value(at_once)}; valid: a whole number of at least 1")
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
