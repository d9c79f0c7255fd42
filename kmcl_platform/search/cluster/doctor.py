"""What dead processes have left behind in a store: found, explained, and put right on request.

Nothing of a search that a live process owns is touched.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.store import Store, check_room
from kmcl_platform.errors import StoreError
from kmcl_platform.search.study.lock import SearchLock
from kmcl_platform.search.study.study import load_study
from kmcl_platform.tracking.runs.leaderboard import list_own_searches
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.training.checkpoints.checkpoint_folder import folder_bytes


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        problem: what it is.
        remedy: what would put it right.
        fix: does that; none where only the user can, or where the next `kmcl search` will.
    """

    problem: str
    remedy: str
    fix: Callable[[], None] | None = None


def examine(store: Store) -> list[Finding]:
    """Look a store over; changes nothing.

    Raises:
        SearchError: there is no store, or it cannot be read.
    """
    searches = list_own_searches(store)
    findings = list(_check_writable(store))
    for search in searches:
        if SearchLock(store.root, search).owner() is None:
            findings += _check_runs(store, search)
            findings += _check_study(store, search)
    findings += _check_checkpoints(store)
    return findings


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


def _check_study(store: Store, search: str) -> Iterator[Finding]:
    study = load_study(store.study_url, search)
    if study is None:
        yield Finding(f"search {search}: its Optuna study is not in {store.root}", "kmcl search FILE begins it anew")
        return
    running = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]
    if running:
        reached = ", ".join(f"{trial.number} after epoch {trial.last_step or 0}" for trial in running)
        yield Finding(
            f"search {search}: {_count(running, 'trial')} open with no process that trains them (trial {reached})",
            "kmcl search FILE goes on with them from their checkpoints",
        )


def _check_checkpoints(store: Store) -> Iterator[Finding]:
    for folder in sorted(store.checkpoints.glob("*/")):
        search = folder.name
        if SearchLock(store.root, search).owner() is not None:
            continue
        study = load_study(store.study_url, search)
        known = set() if study is None else {trial.number for trial in study.get_trials(deepcopy=False)}
        orphans = [path for path in folder.glob("trial-*/") if int(path.name.removeprefix("trial-")) not in known]
        orphans += folder.glob("trial-*/.writing-*/")
        if orphans:
            yield Finding(
                f"{folder}: {_count(orphans, 'checkpoint folder')} of no trial in the study, or half-written "
                f"({_some([path.name for path in orphans])}; {_megabytes(orphans)} MB)",
                "delete them",
                _deleter(orphans),
            )


def _deleter(folders: list[Path]) -> Callable[[], None]:
    def delete() -> None:
        for folder in folders:
            # A half-written checkpoint may lie in a trial's folder that went just before.
            shutil.rmtree(folder, ignore_errors=not folder.exists())

    return delete


def _count(things: list[FrozenTrial] | list[Path] | list[str], name: str) -> str:
    return f"1 {name} is" if len(things) == 1 else f"{len(things)} {name}s are"


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _megabytes(folders: list[Path]) -> str:
    return f"{sum(map(folder_bytes, folders)) / 1e6:.1f}"
