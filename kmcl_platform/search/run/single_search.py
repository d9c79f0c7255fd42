"""Run one search: its lock, its study, Ray, Tune and the record, put together."""

import signal
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.errors import StoreError
from kmcl_platform.messages import count_of, mask_passwords, shell_command
from kmcl_platform.search.cluster.ray_session import start_ray, stop_ray, trial_nodes
from kmcl_platform.search.cluster.resources import count_concurrent_trials
from kmcl_platform.search.forecast.score import is_score_due, score_forecast
from kmcl_platform.search.run.progress_table import SearchView
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
    file: SearchFile, content: bytes, origin: str, store: Store, console: Console, address: str | None, inputs: Inputs
) -> SearchSummary:
    """Run or continue one search under its lock. If it has ended, only its record is completed.

    Args:
        file: the search, without arms.
        content: the bytes of its file, for the record.
        origin: the name of its file, for the record.
        store: where everything is kept.
        console: where progress is shown.
        address: as for `run_search`.
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
            finish_record(store, study, file, _say(console))
            if is_score_due(store, file.name):
                # The driver was killed after the search's last trial.
                _score(file, store, study, SearchRuns.reopen(store, file.name), console)
            return SearchSummary(file.name, interrupted=False, already_finished=True, reason=reason, seconds={})
        return _run(file, content, origin, store, study, console, address)


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
    address: str | None,
) -> SearchSummary:
    clock = _Clock()
    _say(console)(f"search {file.name}: starting Ray and opening the record in {store.root}")
    runs, concurrency = _start(file, content, origin, store, address)
    recorder = Recorder(store, file, runs, _say(console))
    clock.lap("start")
    outcome: SearchOutcome = "failed"
    trouble: StoreError | None = None
    try:
        with SearchView(
            file, console, study.ends(), study.best_value(), str(compare_with_baselines(study) or "")
        ) as view:
            # Imports Ray, which reads its settings from the environment at that moment: `_start` has set them.
            from kmcl_platform.search.run.driver import SearchDriver

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
                "(the first takes about half a minute to start)"
            )
            _tune(file, driver, concurrency)
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
            stop_ray()
    runs.log_totals(checkpoint_metrics(measure_checkpoints(store, file.name)))
    if outcome == "finished":
        _score(file, store, study, runs, console)
        keep_report(store, file.name, console)
    clock.lap("end")
    reason = "" if outcome == "interrupted" else study.end_of_budget() or ""
    return SearchSummary(
        file.name, interrupted=outcome == "interrupted", already_finished=False, reason=reason, seconds=clock.seconds
    )


def _start(file: SearchFile, content: bytes, origin: str, store: Store, address: str | None) -> tuple[SearchRuns, int]:
    """Start Ray and open the record; returns the record, and how many trials fit on the cluster.

    If Ray cannot be started, or no trial fits, the search's run does not stay RUNNING.
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
            start_ray(address)
            concurrency = count_concurrent_trials(trial_nodes(), file.resources)
        except BaseException:
            # The record may have failed too. Its error is then the one that the user sees, and Ray is still stopped.
            try:
                opening.result().end("interrupted")
            finally:
                stop_ray()
            raise
        try:
            return opening.result(), concurrency
        except BaseException:
            stop_ray()
            raise


def _say(console: Console) -> Callable[[str], None]:
    return partial(console.print, highlight=False, markup=False, soft_wrap=True)


def _score(file: SearchFile, store: Store, study: DurableStudy, runs: SearchRuns, console: Console) -> None:
    if line := score_forecast(file, store, study, runs):
        _say(console)(line)


def _tune(file: SearchFile, driver: Any, concurrency: int) -> None:
    from ray import tune

    from kmcl_platform.search.cluster.resources import TRIAL_ACTOR
    from kmcl_platform.search.run.trainable import WarmTrial

    # A job that is stopped, or a machine that shuts down, sends SIGTERM: the same orderly end as Ctrl-C. Python allows
    # handlers in the main thread only.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # Tune's own snapshots are never read again, so they are not written into the store, whose disk may fill up.
    with tempfile.TemporaryDirectory(prefix="kmcl-tune-", ignore_cleanup_errors=True) as scratch:
        tuner = tune.Tuner(
            tune.with_resources(WarmTrial, TRIAL_ACTOR),
            tune_config=tune.TuneConfig(
                search_alg=driver,
                # Without a limit: the driver says when no point is left.
                num_samples=-1,
                # Tune cannot compute it: a trial's actor reserves nothing, and its workers are unknown to Tune.
                max_concurrent_trials=concurrency,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=file.name,
                storage_path=scratch,
                stop=driver,
                # How often Tune starts a lost trial actor again. Lost workers do not count here: the mailbox counts
                # them.
                failure_config=tune.FailureConfig(max_failures=3),
                verbose=0,
            ),
        )
        tuner.fit()


class _Clock:
    def __init__(self) -> None:
        self._last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = now - self._last
        self._last = now
