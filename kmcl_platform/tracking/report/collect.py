"""What a report tells of a search: its trials from MLflow, its study from Optuna; nothing is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store
from kmcl_platform.errors import SearchError
from kmcl_platform.tracking.database import connect_to_read, find_runs
from kmcl_platform.tracking.runs.leaderboard import Leaderboard, read_latest_file, read_leaderboard
from kmcl_platform.tracking.runs.names import NUMBER_TAG, VERDICT_TAG


@dataclass(frozen=True)
class Collected:
    """A search, as its report tells it.

    Attributes:
        file: the search file that it last ran with.
        board: its trials in order of merit.
        study: its Optuna study.
        metrics: of each trial, by number, the last value of every metric.
        tags: of the search's own run.
    """

    file: SearchFile
    board: Leaderboard
    study: optuna.Study
    metrics: Mapping[int, Mapping[str, float]]
    tags: Mapping[str, str]

    @property
    def devices(self) -> float:
        """GPUs that a trial holds, or where it holds none its workers."""
        resources = self.file.resources
        return resources.workers_per_trial * (resources.gpus_per_worker or 1)

    @property
    def hours_name(self) -> str:
        """What `devices` times hours is called."""
        return "GPU-hours" if self.file.resources.gpus_per_worker else "worker-hours"

    @property
    def verdict(self) -> list[str]:
        """What was found of the file's arms, a line each; empty where there are none, or no verdict yet."""
        return self.tags.get(VERDICT_TAG, "").splitlines()


def collect(store: Store, search: str) -> Collected:
    """Read a search.

    Raises:
        SearchError: there is no such store or search, its study is gone, or it has no trial that came to an end.
    """
    board = read_leaderboard(store, search)
    board.best()
    file = parse_search_file(read_latest_file(store, search), f"the file of search {search!r}")
    client = connect_to_read(store)
    runs = find_runs(client, board.experiment_id, role="trial", search=search)
    return Collected(
        file=file,
        board=board,
        study=_load_study(store, search),
        metrics={int(run.data.tags[NUMBER_TAG]): run.data.metrics for run in runs},
        tags=client.get_run(board.parent_id).data.tags,
    )


def _load_study(store: Store, search: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = Path(store.study_url.removeprefix("sqlite:///"))
    # Opening a database that is not there would make it.
    if not store.study_url.startswith("sqlite:///") or path.exists():
        try:
            return optuna.load_study(study_name=search, storage=store.study_url)
        except KeyError:
            pass
    raise SearchError(f"search {search!r}: its Optuna study is not in {store.root}; valid: the store that it ran in")
