"""Problems that dead processes leave in a store: found, explained, and put right on request.

Nothing of a search that a running process owns is touched. A checkpoint is deleted only if the study shows that no
trial has it: without the study of a search, its checkpoints are left alone.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from optuna.trial import TrialState

from kmcl_platform.config.store import Store, check_room
from kmcl_platform.config.store_record import check_study
from kmcl_platform.errors import ConfigError, SearchError, StoreError
from kmcl_platform.files.atomic_write import DRAFT_PREFIX
from kmcl_platform.messages import count_of, mask_passwords, show_path
from kmcl_platform.search.cluster.finding import Finding
from kmcl_platform.search.study.checkpoint_check import trial_folders
from kmcl_platform.search.study.lock import SearchLock
from kmcl_platform.search.study.storage import load_study
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.tracking.runs.searches import list_own_searches
from kmcl_platform.training.checkpoints.checkpoint_folder import folder_bytes


@contextmanager
def examine(store: Store, *, to_fix: bool = False) -> Iterator[list[Finding]]:
    """Examine a store; this changes nothing.

    Args:
        store: the store.
        to_fix: keep the locks of the examined searches inside the block, so that the findings are still true when they
            are fixed there. Without it no lock is taken, and a search can start at any time.

    Yields:
        What was found. A search that a running process owns is left out.

    Raises:
        SearchError: there is no store, it cannot be read, or its study is another one than `store.study_url`.
        NoAnswerError: the database of the study does not answer.
    """
    check_study(store)
    in_mlflow = list_own_searches(store)
    with ExitStack() as stack:
        findings = list(_check_writable(store))
        folders = [path.name for path in store.checkpoints.glob("*/")]
        # A search may have only runs, or only checkpoints.
        for search in sorted({*in_mlflow, *folders}):
            lock = SearchLock(store.root, search)
            if to_fix:
                if not lock.acquire():
                    continue
                # Released when the caller's block ends, after the fixes.
                stack.callback(lock.release)
            elif lock.owner():
                continue
            # A list, not an iterator: everything is read before the owner is checked again.
            try:
                found = [*_check_search(store, search, recorded=search in in_mlflow)]
            except (ConfigError, SearchError) as error:
                # The damaged record of one search must not hide what is wrong with the others.
                problem, _, remedy = str(error).partition("; valid: ")
                found = [Finding(f"search {search}: cannot be examined: {problem}", remedy or "repair its record")]
            # A search that has started in the meantime looks unfinished, but is not.
            if to_fix or lock.owner() is None:
                findings += found
        yield findings


def _check_search(store: Store, search: str, *, recorded: bool) -> Iterator[Finding]:
    if recorded:
        yield from _check_runs(store, search)
    study = load_study(store.study_url, search)
    # Not copied: nothing here changes them.
    trials = [] if study is None else study.get_trials(deepcopy=False)
    if recorded and study is None:
        yield Finding(
            f"search {search}: its Optuna study is not in {mask_passwords(store.study_url)}",
            "--study-url of the database that has it; kmcl search FILE begins a new study",
        )
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    if running:
        reached = ", ".join(f"{trial.number} after epoch {trial.last_step or 0}" for trial in running)
        yield Finding(
            f"search {search}: {_count(running, 'trial')} open, but no process trains them (trial {reached})",
            "kmcl search FILE continues them from their checkpoints",
        )
    yield from _check_checkpoints(store, search, {trial.number for trial in trials})


def _check_writable(store: Store) -> Iterator[Finding]:
    try:
        check_room(store.root)
    except StoreError as error:
        problem, _, remedy = str(error).partition("; valid: ")
        yield Finding(problem, remedy)


def _check_runs(store: Store, search: str) -> Iterator[Finding]:
    runs = SearchRuns.reopen(store, search)
    if names := runs.open_runs():
        yield Finding(
            f"search {search}: MLflow says that {_count(names, 'run')} still running ({_some(names)}), but no process "
            "owns the search",
            "close them as KILLED",
            lambda: runs.end("interrupted"),
        )


def _check_checkpoints(store: Store, search: str, known: set[int]) -> Iterator[Finding]:
    """Compare the folders of a search with the numbers of the trials that its study knows."""
    folder = store.checkpoints / search
    trials = dict(trial_folders(store, search))
    if strays := sorted(path for path in folder.glob("*") if path not in trials.values()):
        yield Finding(
            f"{show_path(folder)}: {_count(strays, 'name')} not of a trial's folder ({_some(_names(strays))})",
            "they are left alone; move them if nothing needs them",
        )
    # No trial is known, so each folder would look like one of no trial, and the fix would delete them all.
    if trials and not known:
        yield Finding(
            f"{show_path(folder)}: {_count(list(trials), 'checkpoint folder')} of a search without a study, or whose "
            "study has no trials",
            "they are left alone; give --study-url of the database that has the study, or delete them if the search "
            "was given up",
        )
        return
    orphans = [path for number, path in trials.items() if number not in known]
    drafts = [
        path
        for number, trial in trials.items()
        # In a folder of no trial, drafts are part of what is deleted already.
        if number in known
        for path in sorted(trial.glob(f"{DRAFT_PREFIX}*"))
        # A link may lead to files that are not the platform's.
        if not path.is_symlink()
    ]
    doomed = orphans + drafts
    if doomed:
        yield Finding(
            f"{show_path(folder)}: {_count(doomed, 'checkpoint folder')} of no trial in the study, or half-written "
            f"({_megabytes(doomed)} MB)",
            "delete them",
            _deleter(store, search, doomed),
            deletes=tuple(doomed),
        )


def _deleter(store: Store, search: str, doomed: Sequence[Path]) -> Callable[[], None]:
    def delete() -> None:
        # The lock keeps searches of this store away, but a database can be restored or replaced at any time.
        study = load_study(store.study_url, search)
        known = {trial.number for trial in study.get_trials(deepcopy=False)} if study else set()
        kept = {path for number, path in trial_folders(store, search) if number in known}
        if not known:
            raise StoreError(
                f"{show_path(store.checkpoints / search)}: nothing deleted: the study of {search!r} has disappeared "
                "since it was examined; valid: a study that stays until the doctor ends"
            )
        for path in doomed:
            if path in kept:
                continue
            try:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(
                    f"{show_path(path)}: cannot be deleted: {error.strerror}; valid: a folder that this user owns"
                ) from None

    return delete


def _count(things: Sequence[object], name: str) -> str:
    return f"{count_of(len(things), name)} {'is' if len(things) == 1 else 'are'}"


def _names(paths: list[Path]) -> list[str]:
    return [show_path(path.name) for path in paths]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _megabytes(paths: Sequence[Path]) -> str:
    return f"{sum(folder_bytes(path) if path.is_dir() else path.stat().st_size for path in paths) / 1e6:.1f}"
