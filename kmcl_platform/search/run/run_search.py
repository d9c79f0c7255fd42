"""Run a search: Ray, Tune, the study and the record, put together."""

import signal
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from kmcl_platform.config.arms import expand_arms, to_yaml
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file, read_bytes
from kmcl_platform.config.store import Store, check_room
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.errors import DataError, StoreError
from kmcl_platform.search.cluster.ray_session import start_ray, stop_ray, trial_nodes
from kmcl_platform.search.cluster.resources import count_concurrent_trials
from kmcl_platform.search.forecast.score import is_score_due, score_forecast
from kmcl_platform.search.run.pretrained_check import check_weights
from kmcl_platform.search.run.progress_table import SearchView
from kmcl_platform.search.study.arm_retraining import plan_retraining
from kmcl_platform.search.study.checkpoint_retention import drop_checkpoints, kept_metrics, measure_checkpoints
from kmcl_platform.search.study.lock import SearchLock
from kmcl_platform.search.study.reconcile import close_record, finish_record, reconcile
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.database import locked
from kmcl_platform.tracking.database.store_errors import find_trouble
from kmcl_platform.tracking.report.page import write_report
from kmcl_platform.tracking.runs.arm_comparison import compare_retrained, record_verdict
from kmcl_platform.tracking.runs.leaderboard import read_latest_file
from kmcl_platform.tracking.runs.search_run import SearchOutcome, SearchRuns
from kmcl_platform.tracking.writing.recorder import Recorder


@dataclass(frozen=True)
class SearchSummary:
    """How one search of a call of `run_search` ended.

    Attributes:
        search: the search's name.
        interrupted: whether it was stopped (Ctrl-C, SIGTERM) with trials left to run.
        already_finished: whether there was nothing left to do.
        retrains: for a search that trains an arm's best trial again, the arm's name; empty for all others.
        reason: which part of the budget ended the search; empty for an interrupted one.
        seconds: wall time of the phases, by name.
    """

    search: str
    interrupted: bool
    already_finished: bool
    reason: str
    seconds: dict[str, float]
    retrains: str = ""


def run_search(path: Path, store: Store, console: Console, *, address: str | None = None) -> list[SearchSummary]:
    """Run the search that a file describes, or continue it if the store already knows it.

    A file with arms describes one search for each. They run one after another, so that none takes another's share of
    the cluster. When all have ended, so do the searches of the verdict, which train the best trial of each again.

    Args:
        path: the search file.
        store: where everything is kept.
        console: where progress is shown.
        address: a running Ray cluster (`auto`, `HOST:PORT`); none starts Ray in this machine, on loopback.

    Returns:
        How each search ended, in the file's order; an interrupted one is the last.

    Raises:
        ConfigError: the file is invalid.
        DataError: the data cannot be used.
        WeightsError: pretrained weights cannot be had.
        ResourceError: a trial does not fit on the cluster.
        SearchError: the search is running elsewhere, or was begun with another definition.
        StoreError: the store cannot be written to; what was finished is kept, and the same call goes on from there.
        ClusterError: the cluster cannot be reached.
    """
    return _run_searches(read_bytes(path), str(path), store, console, address)


def resume_search(search: str, store: Store, console: Console, *, address: str | None = None) -> list[SearchSummary]:
    """Continue a search of the store from the file that its record holds, the latest that it ran with.

    Args:
        search: its name; of a file with arms, that of one arm.
        store: where it is kept.
        console: where progress is shown.
        address: as for `run_search`.

    Returns:
        How the search ended, alone in the list.

    Raises:
        SearchError: there is no such store or search, and as for `run_search`, like the other errors.
    """
    content = read_latest_file(store, search)
    return _run_searches(content, f"the file of search {search!r}", store, console, address)


def _run_searches(
    content: bytes, origin: str, store: Store, console: Console, address: str | None
) -> list[SearchSummary]:
    file = parse_search_file(content, origin)
    searches = [(arm, to_yaml(arm)) for arm in expand_arms(file)] if file.arms else [(file, content)]
    summaries: list[SearchSummary] = []
    try:
        check_data(file, store)
        check_weights(file)
        check_room(store.root)
        for search, own_content in searches:
            summaries.append(_run_or_find(search, own_content, origin, store, console, address))
            if summaries[-1].interrupted:
                return summaries
        retraining = plan_retraining(file, store)
        for arm, search in retraining.items():
            console.print(
                f"verdict: the best trial of {arm} again, on {search.budget.trials} new seeds", highlight=False
            )
            summary = _run_or_find(search, to_yaml(search), origin, store, console, address)
            summaries.append(replace(summary, retrains=arm))
            if summary.interrupted:
                return summaries
        if retraining:
            comparisons = compare_retrained(store, {arm: search.name for arm, search in retraining.items()})
            record_verdict(store, [search.name for search, _ in searches], comparisons)
            for search, _ in searches:
                _report(store, search.name, console)
    except Exception as error:
        if trouble := find_trouble(error, store):
            raise trouble from None
        raise
    return summaries


def _run_or_find(
    file: SearchFile, content: bytes, origin: str, store: Store, console: Console, address: str | None
) -> SearchSummary:
    with SearchLock(store.root, file.name):
        with locked(store):  # two searches that begin a store at once would both make Optuna's tables
            study = DurableStudy(store.study_url, file)
        if reason := study.end_of_budget():
            finish_record(store, study, file, _say(console))
            if is_score_due(store, file.name):
                # The driver was killed after the search's last trial.
                _score(file, store, study, SearchRuns.reopen(store, file.name), console)
            return SearchSummary(file.name, interrupted=False, already_finished=True, reason=reason, seconds={})
        return _run(file, content, origin, store, study, console, address)


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
    console.print(f"search {file.name}: starting Ray and opening the record in {store.root}", highlight=False)
    # Read once more, rather than held in memory with its images for as long as the search runs. Not beside Ray's start,
    # which sets environment variables: the client of an object store reads them in C, and would crash the process.
    manifest = open_manifest(file.base.data.source, store.data)
    # MLflow's import and first start take as long as Ray's, so they are paid side by side.
    with ThreadPoolExecutor(1) as background:
        opening = background.submit(SearchRuns.open, store, file, content, origin, manifest)
        del manifest
        start_ray(address)
        try:
            concurrency = count_concurrent_trials(trial_nodes(), file.resources)
        finally:
            runs = opening.result()
    recorder = Recorder(store, file, runs, _say(console))
    clock.lap("start")
    outcome: SearchOutcome = "failed"
    trouble: StoreError | None = None
    try:
        with SearchView(file, console, study.verdicts(), study.best_value()) as view:
            from kmcl_platform.search.run.driver import SearchDriver

            driver = SearchDriver(file, store, study, recorder, view)
            recorder.flush()
            reconcile(study, runs)
            drop_checkpoints(store, file.name, study, keep=file.budget.checkpoints)
            study.ledger.start()
            view.say(
                f"search {file.name}: {file.budget.trials} trials of at most {file.base.num_epochs} epochs, "
                f"{study.num_finished()} already finished; {concurrency} at once, "
                f"{file.resources.workers_per_trial} workers each (the first takes about half a minute to start)"
            )
            _tune(file, driver, concurrency)
        if driver.trouble:
            raise driver.trouble
        clock.lap("trials")
        outcome = "finished" if study.end_of_budget() else "interrupted"
    except KeyboardInterrupt:
        outcome = "interrupted"
    except Exception as error:
        trouble = find_trouble(error, store)
        raise
    finally:
        try:
            close_record(store, recorder, outcome, trouble)
        finally:
            stop_ray()
    runs.log_totals(kept_metrics(measure_checkpoints(store, file.name)))
    if outcome == "finished":
        _score(file, store, study, runs, console)
        _report(store, file.name, console)
    clock.lap("end")
    reason = "" if outcome == "interrupted" else study.end_of_budget() or ""
    return SearchSummary(
        file.name, interrupted=outcome == "interrupted", already_finished=False, reason=reason, seconds=clock.seconds
    )


def _say(console: Console) -> Callable[[str], None]:
    return partial(console.print, highlight=False, markup=False, soft_wrap=True)


def _score(file: SearchFile, store: Store, study: DurableStudy, runs: SearchRuns, console: Console) -> None:
    if line := score_forecast(file, store, study, runs):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _report(store: Store, search: str, console: Console) -> None:
    """Keep the report with the search's run; a search that is done is not lost for a page."""
    try:
        write_report(store, search)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        console.print(f"no report: {reason}; kmcl report {search} tries again", highlight=False, markup=False)


def _tune(file: SearchFile, driver: Any, concurrency: int) -> None:
    from ray import tune

    from kmcl_platform.search.cluster.resources import TRIAL_ACTOR
    from kmcl_platform.search.run.trainable import WarmTrial

    # A job that is stopped, or a machine that shuts down, sends SIGTERM: the same orderly end as Ctrl-C.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # Tune's own snapshots are never read again: the store, which may fill up, is spared them.
    with tempfile.TemporaryDirectory(prefix="kmcl-tune-", ignore_cleanup_errors=True) as scratch:
        tuner = tune.Tuner(
            tune.with_resources(WarmTrial, TRIAL_ACTOR),
            tune_config=tune.TuneConfig(
                search_alg=driver,
                num_samples=-1,
                max_concurrent_trials=concurrency,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=file.name,
                storage_path=scratch,
                stop=driver,
                failure_config=tune.FailureConfig(max_failures=3),
                verbose=0,
            ),
        )
        tuner.fit()


def check_data(file: SearchFile, store: Store) -> None:
    """Open the data before anything is started: what is wrong with it should not be learnt from a worker."""
    manifest = open_manifest(file.base.data.source, store.data)
    for split in ("train", "val"):
        if manifest.split(split).num_rows == 0:
            raise DataError(f"{manifest.name}: split {split} has no images; valid: at least one")


class _Clock:
    def __init__(self) -> None:
        self._last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = now - self._last
        self._last = now
