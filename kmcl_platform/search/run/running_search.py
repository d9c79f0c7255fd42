"""A running search: its record and its driver are open in a block, in which its trials are trained."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.errors import KmclError, StoreError
from kmcl_platform.messages import count_of, mask_passwords, shell_command
from kmcl_platform.search.forecast.score import score_forecast
from kmcl_platform.search.run.driver import SearchDriver
from kmcl_platform.search.run.progress_table import SearchView
from kmcl_platform.search.run.runner import Runner, ending_on_sigterm
from kmcl_platform.search.study.checkpoint_retention import checkpoint_metrics, drop_checkpoints, measure_checkpoints
from kmcl_platform.search.study.compared_trials import compare_with_baselines
from kmcl_platform.search.study.reconcile import close_record, reconcile
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.database.store_errors import find_trouble
from kmcl_platform.tracking.report.page import write_report
from kmcl_platform.tracking.runs.search_run import SearchOutcome, SearchRuns
from kmcl_platform.tracking.runs.searches import check_recorded
from kmcl_platform.tracking.writing.recorder import Recorder


@dataclass(frozen=True)
class SearchSummary:
    """How one search of a call of `run_search` ended.

    Attributes:
        search: the search's name.
        interrupted: whether it was stopped (Ctrl-C, SIGTERM) with trials left to run.
        already_finished: whether there was nothing left to do.
        reason: the part of the budget that ended the search; empty for an interrupted one.
        seconds: wall time of the phases, by name.
        retrains: for a search that trains a trial again, the arm's name or the trial's; empty for all others.
    """

    search: str
    interrupted: bool
    already_finished: bool
    reason: str
    seconds: dict[str, float]
    retrains: str = ""


class RunningSearch:
    """A search whose driver hands out trials.

    Attributes:
        driver: hands out trials, and takes their results.
        concurrency: the number of trials that run at the same time.
    """

    def __init__(self, search: str, driver: SearchDriver, concurrency: int, clock: "_Clock") -> None:
        self.driver = driver
        self.concurrency = concurrency
        self._search = search
        self._clock = clock
        self.outcome: SearchOutcome = "failed"
        self.reason = ""

    def summary(self) -> SearchSummary:
        """How it ended; call it after the block of `running`."""
        interrupted = self.outcome == "interrupted"
        return SearchSummary(
            self._search,
            interrupted=interrupted,
            already_finished=False,
            reason="" if interrupted else self.reason,
            seconds=self._clock.seconds,
        )


@contextmanager
def running(
    file: SearchFile,
    content: bytes,
    origin: str,
    store: Store,
    study: DurableStudy,
    console: Console,
    runner: Runner,
) -> Iterator[RunningSearch]:
    """Open the record of a search, and close it after the block, in which its trials are trained.

    Ctrl-C and SIGTERM end the block, and are no error: the search's summary is then `interrupted`.

    Args:
        file, content, origin, store, console, runner: as for `run_or_find`.
        study: the search's study, under its lock.
    """
    clock = _Clock()
    starting = "" if runner.draws_here else "starting Ray and "
    say_on(console)(f"search {file.name}: {starting}opening the record in {store.root}")
    runs, concurrency = _start(file, content, origin, store, runner, num_ended=len(study.ended.ends))
    # After Ray, which sets a handler of SIGTERM too.
    with ending_on_sigterm():
        recorder = Recorder(store, file, runs, say_on(console), draws_here=runner.draws_here)
        clock.lap("start")
        trouble: StoreError | None = None
        comparison = str(compare_with_baselines(study) or "")
        ends, best = study.ended.ends, study.best_value()
        view = SearchView(file, console, ends, best, comparison, money=lambda: study.ledger.money)
        search = RunningSearch(file.name, SearchDriver(file, store, study, recorder, view), concurrency, clock)
        try:
            with view:
                # First what an earlier driver left in its outbox, else `reconcile` would take it for lost.
                recorder.flush()
                reconcile(study, runs)
                # An earlier driver may have died between the end of a trial and this step.
                drop_checkpoints(store, file.name, study, keep=file.budget.checkpoints)
                study.ledger.start(concurrency)
                view.say(_beginning(file, study, concurrency, runner))
                yield search
                study.ledger.stop()
            # Raised only now: Tune would turn it into text.
            if search.driver.trouble:
                raise search.driver.trouble
            clock.lap("trials")
            search.outcome = "finished" if study.end_of_budget() else "interrupted"
        except KeyboardInterrupt:
            # Tune catches the first Ctrl-C, and returns. This is a Ctrl-C outside Tune, or a second one.
            search.outcome = "interrupted"
        except Exception as error:
            trouble = find_trouble(error, store)
            raise
        finally:
            try:
                close_record(store, recorder, search.outcome, trouble)
            finally:
                runner.stop()
        runs.log_totals(checkpoint_metrics(measure_checkpoints(store, file.name)))
        if search.outcome == "finished":
            score(file, store, study, runs, console)
            keep_report(store, file.name, console)
            search.reason = study.end_of_budget() or ""
        clock.lap("record and report")


def _beginning(file: SearchFile, study: DurableStudy, concurrency: int, runner: Runner) -> str:
    return (
        f"search {file.name}: {count_of(file.budget.trials, 'trial')} of at most "
        f"{count_of(file.base.num_epochs, 'epoch')}, "
        f"{len(study.ended.trials)} already finished; {concurrency} at once, "
        f"{count_of(file.resources.workers_per_trial, 'worker')} each "
        f"{'in this process' if runner.draws_here else '(the first takes about half a minute to start)'}"
    )


def _start(
    file: SearchFile, content: bytes, origin: str, store: Store, runner: Runner, *, num_ended: int
) -> tuple[SearchRuns, int]:
    """Start the runner and open the record; returns the record, and how many trials run at the same time.

    If the runner cannot be started, or no trial fits, the search's run does not stay RUNNING.
    """
    # The manifest is read again here, so that its images are not in memory while the search runs. It is read before Ray
    # starts: Ray sets environment variables, and a client of an object store that reads them in C at the same time
    # would crash.
    manifest = None if file.base.own else open_manifest(file.base.data.source, store.data)

    def open_record() -> SearchRuns:
        check_recorded(store, file.name, num_ended)
        return SearchRuns.open(store, file, content, origin, manifest)

    # MLflow's import and first start take as long as Ray's, so both run at the same time.
    with ThreadPoolExecutor(1) as background:
        opening = background.submit(open_record)
        try:
            concurrency = runner.start(file)
        except BaseException:
            # The record may have failed too. Its error is then the one that the user sees, and Ray is still stopped.
            try:
                opening.result().end("interrupted")
            finally:
                runner.stop()
            raise
        try:
            return opening.result(), concurrency
        except BaseException:
            runner.stop()
            raise


def keep_report(store: Store, search: str, console: Console) -> None:
    """Store the report with the search's run. An error is only printed, because the search itself is complete."""
    try:
        write_report(store, search)
    except KmclError as error:
        # For example no trial has completed: the end of the search says what to do.
        say_on(console)(f"no report: {mask_passwords(str(error))}")
    except Exception as error:
        reason = mask_passwords(" ".join(f"{type(error).__name__}: {error}".split()))
        say_on(console)(f"no report: {reason}; next: {shell_command(['kmcl', 'report', search])}")


def say_on(console: Console) -> Callable[[str], None]:
    return partial(console.print, highlight=False, markup=False, soft_wrap=True)


def score(file: SearchFile, store: Store, study: DurableStudy, runs: SearchRuns, console: Console) -> None:
    if line := score_forecast(file, store, study, runs):
        say_on(console)(line)


class _Clock:
    def __init__(self) -> None:
        self._last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = now - self._last
        self._last = now
