"""Bring MLflow's record into agreement with the study, after a driver died or the store could not be written."""

from collections.abc import Callable

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.errors import SearchError, StoreError
from kmcl_platform.messages import mask_passwords
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.database import check_answers
from kmcl_platform.tracking.database.store_errors import find_trouble
from kmcl_platform.tracking.runs.search_run import SearchOutcome, SearchRuns, TrialOutcome
from kmcl_platform.tracking.writing.recorder import Recorder


def reconcile(study: DurableStudy, runs: SearchRuns) -> None:
    """Write into MLflow how trials ended, if a former driver died between writing it to the study and to MLflow.

    Raises:
        SearchError: MLflow has a trial that the study does not know.
    """
    recorded = runs.trials.outcomes()
    # A trial is in the study before MLflow has it. So this is an older copy of the study, whose next trials would be
    # written into the runs of others.
    if unknown := recorded.keys() - {trial.number for trial in study.counted()}:
        raise SearchError(
            f"{mask_passwords(study.url)}: search {study.file.name!r} has no trial {min(unknown)}, which MLflow has; "
            "valid: the study database of that time, or another name"
        )
    for number, end in study.ended.ends.items():
        if recorded.get(number) != end:
            # The driver may have died before MLflow had the run. A run that exists is opened again, so `end` works on
            # both.
            point = study.point(number)
            name, source = point.baseline, point.source
            runs.trials.begin(number, point.config, baseline=bool(name), baseline_name=name, source=source)
            runs.trials.end(number, TrialOutcome(end), objective=study.value(number))


def close_record(store: Store, recorder: Recorder, outcome: SearchOutcome, trouble: StoreError | None) -> None:
    """End the record of a search; after trouble with the store, only if it can be written to again.

    If it cannot, its runs stay RUNNING until the search is continued, or `kmcl doctor --fix` is called.

    Raises:
        StoreError: MLflow does not answer; the next start writes what is missing.
    """
    try:
        if trouble is None:
            if outcome == "finished":
                # A stopped search does not make the user wait: scores that are not drawn wait on the disk for the next
                # start.
                recorder.finish_drawings()
            # First the trials' own ends: `end` closes every run that is still open.
            recorder.flush()
            recorder.runs.end(outcome)
            return
        try:
            # A server that is away is noticed in seconds here. `flush` would wait minutes for it.
            check_answers(store)
            recorder.flush()
            recorder.runs.end("interrupted")
        except Exception as error:
            # The same trouble again is no news: the caller reports the first one.
            if find_trouble(error, store) is None:
                raise
    finally:
        recorder.close()


def finish_record(
    store: Store, study: DurableStudy, file: SearchFile, say: Callable[[str], None], *, draws_here: bool = False
) -> None:
    """Close the record of a search that has nothing left to run, if its driver died before it could do so.

    `draws_here`: figures that are missing are drawn in this process.

    Raises:
        StoreError: MLflow does not answer, or the disk is full.
    """
    runs = SearchRuns.reopen(store, file.name)
    recorder = Recorder(store, file, runs, say, draws_here=draws_here)
    try:
        recorder.finish_drawings()
        recorder.flush()
        # The usual case has no open runs, and then nothing more is read or written.
        if runs.open_runs():
            reconcile(study, runs)
            runs.end("finished")
    finally:
        recorder.close()
