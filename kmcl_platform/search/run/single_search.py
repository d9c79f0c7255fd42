"""Run one search: its lock, its study, Ray, Tune and the record, put together."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from kmcl_platform.config.reports.trial_marks import WARM_START
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.search.forecast.score import is_score_due
from kmcl_platform.search.run.runner import Runner
from kmcl_platform.search.run.running_search import SearchSummary, running, say_on, score
from kmcl_platform.search.sampling.first_points import COLD
from kmcl_platform.search.study.checkpoint_check import check_checkpoints
from kmcl_platform.search.study.definition import NOTHING, Allowed
from kmcl_platform.search.study.inputs import Inputs
from kmcl_platform.search.study.lock import SearchLock
from kmcl_platform.search.study.reconcile import finish_record
from kmcl_platform.search.study.storage import load_study
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.search.warm_start import read_warm_start
from kmcl_platform.tracking.database import locked
from kmcl_platform.tracking.runs.ownership import check_owner
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.tracking.runs.searches import check_not_recorded, know_recorded_plugins


def run_or_find(
    file: SearchFile,
    content: bytes,
    origin: str,
    store: Store,
    console: Console,
    runner: Runner,
    inputs: Inputs,
    allowed: Allowed = NOTHING,
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
        allowed: what may differ from the search as it was begun.

    Raises:
        KmclError: as `run_search`.
    """
    with opened_study(file, store, console, inputs, allowed) as study:
        if study.end_of_budget():
            return complete_record(store, study, console, runner)
        # The file with what a study keeps from its first start.
        return _run(study.file, content, origin, store, study, console, runner)


@contextmanager
def opened_study(
    file: SearchFile, store: Store, console: Console, inputs: Inputs, allowed: Allowed = NOTHING
) -> Iterator[DurableStudy]:
    """The study of a search, under its lock until the block ends; arguments and errors as for `run_or_find`."""
    with SearchLock(store.root, file.name):
        # Before the study is made: a search that another store owns leaves nothing behind here.
        check_owner(store, file.name)
        begun = load_study(store.study_url, file.name)
        if begun is None:
            # Before the study is made: with it, the checkpoints would seem to be left over, and `kmcl doctor --fix`
            # would delete them.
            check_checkpoints(store, file.name, {})
            check_not_recorded(store, file.name)
        if file.base.plugins and begun is not None:
            know_recorded_plugins(store, file.name)
        warm_start = COLD
        if file.warm_start and (begun is None or WARM_START not in begun.user_attrs):
            warm_start = read_warm_start(file, store.study_url)
            for line in warm_start.lines:
                say_on(console)(line)
        with locked(store):  # Two searches that begin a store at the same time would both make Optuna's tables.
            say = say_on(console)
            study = DurableStudy(store.study_url, file, say, inputs, allowed=allowed, warm_start=warm_start)
        check_checkpoints(
            store, file.name, {trial.number: study.point(trial.number).config for trial in study.counted()}
        )
        yield study


def complete_record(store: Store, study: DurableStudy, console: Console, runner: Runner) -> SearchSummary:
    """Write what the record of a search lacks that has ended: its driver may have been killed."""
    file = study.file
    finish_record(store, study, file, say_on(console), draws_here=runner.draws_here)
    if is_score_due(store, file.name):
        # The driver was killed after the search's last trial.
        score(file, store, study, SearchRuns.reopen(store, file.name), console)
    reason = study.end_of_budget() or ""
    return SearchSummary(file.name, interrupted=False, already_finished=True, reason=reason, seconds={})


def _run(
    file: SearchFile,
    content: bytes,
    origin: str,
    store: Store,
    study: DurableStudy,
    console: Console,
    runner: Runner,
) -> SearchSummary:
    with running(file, content, origin, store, study, console, runner) as search:
        runner.run(file, search.driver, search.concurrency)
    return search.summary()
