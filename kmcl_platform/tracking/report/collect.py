"""The data of a search's report: its trials from MLflow, its study from Optuna; nothing is written."""

from collections.abc import Mapping
from dataclasses import dataclass

import optuna
from sqlalchemy.exc import DBAPIError

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store, sqlite_file
from kmcl_platform.errors import NoAnswerError, SearchError
from kmcl_platform.files.file_status import is_there
from kmcl_platform.tracking.database import connect_to_read, find_runs
from kmcl_platform.tracking.runs.leaderboard import Leaderboard, read_leaderboard
from kmcl_platform.tracking.runs.names import VERDICT_TAG, trial_number
from kmcl_platform.tracking.runs.searches import read_latest_search_file


@dataclass(frozen=True)
class Collected:
    """The data of a search's report.

    Attributes:
        file: the search file with which it last ran.
        board: its trials, the best first.
        study: its Optuna study.
        metrics: of each trial, by number, the last value of every metric.
        tags: tags of the search's own run.
    """

    file: SearchFile
    board: Leaderboard
    study: optuna.Study
    metrics: Mapping[int, Mapping[str, float]]
    tags: Mapping[str, str]

    @property
    def devices(self) -> float:
        """Number of GPUs of a trial; if it has none, number of its workers."""
        resources = self.file.resources
        return resources.workers_per_trial * (resources.gpus_per_worker or 1)

    @property
    def hours_name(self) -> str:
        """Unit of `devices` times hours."""
        return "GPU-hours" if self.file.resources.gpus_per_worker else "worker-hours"

    @property
    def verdict(self) -> list[str]:
        """One line for each comparison of arms; empty if the file has no arms, or they are not compared yet."""
        return self.tags.get(VERDICT_TAG, "").splitlines()


def collect(store: Store, search: str) -> Collected:
    """Read a search.

    Raises:
        SearchError: there is no such store or search, its study is missing, or no trial of it completed.
        NoAnswerError: the study's database does not answer.
    """
    board = read_leaderboard(store, search)
    # Raises if no trial is completed, because most of the report is about the best trials.
    board.best()
    file = read_latest_search_file(store, search)
    client = connect_to_read(store)
    runs = find_runs(client, board.experiment_id, role="trial", search=search)
    return Collected(
        file=file,
        board=board,
        study=_load_study(store, search),
        metrics={trial_number(run): run.data.metrics for run in runs},
        tags=client.get_run(board.parent_id).data.tags,
    )


def _load_study(store: Store, search: str) -> optuna.Study:
    # Optuna's figures warn of each diverged trial. The report says how each trial ended.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = sqlite_file(store.study_url)
    # SQLite makes a missing database when it is opened.
    if path is None or is_there(path):
        try:
            return optuna.load_study(study_name=search, storage=store.study_url)
        # Optuna's error for a study that is not in the database.
        except KeyError:
            pass
        except DBAPIError as error:
            reason = " ".join(str(error.orig).split())[:300]
            raise NoAnswerError(
                f"study of search {search!r}: its database {store.study_url} does not answer: {reason}; valid: start "
                "it, or give the address of the study's database in --study-url or KMCL_STUDY_URL"
            ) from None
    raise SearchError(
        f"search {search!r}: its Optuna study is not in {store.study_url}; valid: the store and the --study-url of the "
        "search"
    )
