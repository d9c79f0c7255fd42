"""Run one search: its lock, its study, Ray, Tune and the record, put together."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.errors import StoreError
from kmcl_platform.messages import count_of, mask_passwords, shell_command
from kmcl_platform.search.forecast.score import is_score_due, score_forecast
from kmcl_platform.search.run.driver import SearchDriver
from kmcl_platform.search.run.progress_table import SearchView
from kmcl_platform.search.run.runner import Runner
from kmcl_platform.search.study.checkpoint_check import check_checkpoints
from kmcl_platform.search.study.checkpoint_retention import checkpoint_metrics, drop_checkpoints, measure_checkpoints
from kmcl_platform.search.study.compared_trials import compare_with_baselines
from kmcl_platform.search.study.inputs import Inputs
from kmcl_platform.search.study.lock import SearchLock
from kmcl_platform.search.study.reconcile import close_record, finish_record, reconcile
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.database import locked
from kmcl_platform.tracking.database.store_errors import find_trouble
from kmcl_platform.tracking.report.page import write_report
from kmcl_platform.tracking.runs.ownership import check_owner
from kmcl_platform.tracking.runs.search_run import SearchOutcome, SearchRuns
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


def run_or_find(
    file: SearchFile, content: bytes, origin: str, store: Store, console: Console, runner: Runner, inputs: Inputs
) -> SearchSummary:
    """Run or continue one search under its lock. If it has ended, only its record is completed.

    Args:
        file: the search, without arms.
        content: the bytes of its file, for the record.
        origin: the name of its file, for the record.
        store: where everything is kept.
        console: where progress is shown.
        runner: trains the trials.
        inputs: the content of the files that it reads.

    Raises:
        KmclError: as `run_search`.
    """
    with SearchLock(store.root, file.name):
        # Before the study is made: a search that another store owns leaves nothing behind here.
        check_owner(store, file.name)
        with locked(store):  # Two searches that begin a store at the same time would both make Optuna's tables.
            study = DurableStudy(store.study_url, file, _say(console), inputs)
        check_checkpoints(store, file.name, {trial.number: study.config(trial.number) for trial in study.counted()})
        if reason := study.end_of_budget():
            finish_record(store, study, file, _say(console), draws_here=runner.draws_here)
            if is_score_due(store, file.name):
                # The driver was killed after the search's last trial.
                _score(file, store, study, SearchRuns.reopen(store, file.name), console)
            return SearchSummary(file.name, interrupted=False, already_finished=True, reason=reason, seconds={})
        # The file with what a study keeps from its first start.
        return _run(study.file, content, origin, store, study, console, runner)


def keep_report(store: Store, search: str, console: Console) -> None:
    """Store the report with the search's run. An error is only printed, because the search itself is complete."""
    try:
        write_report(store, search)
    except Exception as error:
        reason = mask_passwords(" ".join(f"{type(error).__name__}: {error}".split()))
        _say(console)(f"no report: {reason}; next: {shell_command(['kmcl', 'report', search])}")


def _run(
    file: SearchFile,
    content: bytes,
    origin: str,
    store: Store,
    study: DurableStudy,
    console: Console,
    runner: Runner,
) -> SearchSummary:
    clock = _Clock()
    starting = "" if runner.draws_here else "starting Ray and "
    _say(console)(f"search {file.name}: {starting}opening the record in {store.root}")
    runs, concurrency = _start(file, content, origin, store, runner)
    recorder = Recorder(store, file, runs, _say(console), draws_here=runner.draws_here)
    clock.lap("start")
    outcome: SearchOutcome = "failed"
    trouble: StoreError | None = None
    try:
        with SearchView(
            file, console, study.ends(), study.best_value(), str(compare_with_baselines(study) or "")
        ) as view:
            driver = SearchDriver(file, store, study, recorder, view)
            # First what an earlier driver left in its outbox, else `reconcile` would take it for lost.
            recorder.flush()
            reconcile(study, runs)
            # An earlier driver may have died between the end of a trial and this step.
            drop_checkpoints(store, file.name, study, keep=file.budget.checkpoints)
            study.ledger.start()
            view.say(
                f"search {file.name}: {count_of(file.budget.trials, 'trial')} of at most "
                f"{count_of(file.base.num_epochs, 'epoch')}, "
                f"{study.num_finished()} already finished; {concurrency} at once, "
                f"{count_of(file.resources.workers_per_trial, 'worker')} each "
                f"{'in this process' if runner.draws_here else '(the first takes about half a minute to start)'}"
            )
            runner.run(file, driver, concurrency)
            study.ledger.stop()
        # Raised only now: Tune would turn it into text.
        if driver.trouble:
            raise driver.trouble
        clock.lap("trials")
        outcome = "finished" if study.end_of_budget() else "interrupted"
    except KeyboardInterrupt:
        # Tune catches the first Ctrl-C, and returns. This is a Ctrl-C outside Tune, or a second one.
        outcome = "interrupted"
    except Exception as error:
        trouble = find_trouble(error, store)
        raise
    finally:
        try:
            close_record(store, recorder, outcome, trouble)
        finally:
            runner.stop()
    runs.log_totals(checkpoint_metrics(measure_checkpoints(store, file.name)))
    if outcome == "finished":
        _score(file, store, study, runs, console)
        keep_report(store, file.name, console)
    clock.lap("end")
    reason = "" if outcome == "interrupted" else study.end_of_budget() or ""
    return SearchSummary(
        file.name, interrupted=outcome == "interrupted", already_finished=False, reason=reason, seconds=clock.seconds
    )


def _start(file: SearchFile, content: bytes, origin: str, store: Store, runner: Runner) -> tuple[SearchRuns, int]:
    """Start the runner and open the record; returns the record, and how many trials run at the same time.

    If the runner cannot be started, or no trial fits, the search's run does not stay RUNNING.
    """
    # The manifest is read again here, so that its images are not in memory while the search runs. It is read before Ray
    # starts: Ray sets environment variables, and a client of an object store that reads them in C at the same time
    # would crash.
    manifest = open_manifest(file.base.data.source, store.data)
    # MLflow's import and first start take as long as Ray's, so both run at the same time.
    with ThreadPoolExecutor(1) as background:
        opening = background.submit(SearchRuns.open, store, file, content, origin, manifest)
        del manifest
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


def _say(console: Console) -> Callable[[str], None]:
    return partial(console.print, highlight=False, markup=False, soft_wrap=True)


def _score(file: SearchFile, store: Store, study: DurableStudy, runs: SearchRuns, console: Console) -> None:
    if line := score_forecast(file, store, study, runs):
        _say(console)(line)


class _Clock:
    def __init__(self) -> None:
        self._last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = now - self._last
        self._last = now
