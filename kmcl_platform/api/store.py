"""Store: everything that searches have left in a folder, to be read from Python."""

import os
from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING

from rich.console import RenderableType

from kmcl_platform.config.store import Store as StorePlaces, open_store
from kmcl_platform.files.given_path import as_path
from kmcl_platform.shown import Shown

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from kmcl_platform.api.leaderboards import SearchTrials
    from kmcl_platform.api.pages import Report
    from kmcl_platform.api.registered import Champion

DEFAULT_STORE = "kmcl_store"


class Store(StorePlaces, Shown):
    """The folder of searches, with their study, their record in MLflow, and their models. Reading creates nothing.

    What is not given comes from the environment, as for the command line: KMCL_STORE, KMCL_TRACKING_URI and
    KMCL_STUDY_URL. Without these, the folder is `kmcl_store`, and its databases are SQLite files in it.

    Args:
        root: the folder.
        tracking_uri: the address of MLflow's server or database.
        study_url: the database of the Optuna studies.

    Raises:
        ConfigError: the folder is no path, or its name is not UTF-8.
    """

    def __init__(
        self, root: str | PathLike[str] | None = None, tracking_uri: str | None = None, study_url: str | None = None
    ) -> None:
        given = os.environ.get("KMCL_STORE") or DEFAULT_STORE if root in (None, "") else root
        places = open_store(
            as_path(given, "store", "a Store, or the path of its folder"),
            tracking_uri or os.environ.get("KMCL_TRACKING_URI"),
            study_url or os.environ.get("KMCL_STUDY_URL"),
        )
        super().__init__(places.root, places.tracking_uri, places.study_url)

    def searches(self) -> list[str]:
        """The names of the searches, sorted.

        Raises:
            SearchError: there is no such store.
        """
        from kmcl_platform.tracking.runs.searches import list_own_searches

        return list_own_searches(self)

    def trials(self, search: str) -> "pd.DataFrame":
        """The trials of a search, the best first: one row for each.

        Columns: `trial` (its number), `rank` (1: the best; missing: not of full length), `outcome`, `reason`,
        `baseline`, `epochs`, the objective under its own name, `seconds`, and each searched value under its path.

        Raises:
            SearchError: there is no such store or search, or its record is incomplete.
        """
        from kmcl_platform.api.leaderboards import trials_table

        return trials_table(self, search)

    def leaderboard(self, search: str) -> "SearchTrials":
        """The trials of a search as `kmcl leaderboard` shows them, with its finalists and its baselines.

        Raises:
            SearchError: as for `trials`.
        """
        from kmcl_platform.api.leaderboards import read_trials

        return read_trials(self, search)

    def study(self, search: str) -> "optuna.Study":
        """The Optuna study of a search, for example for Optuna's plots. Do not write to it.

        Raises:
            SearchError: the database has no such study.
            NoAnswerError: the database does not answer.
        """
        from kmcl_platform.search.study.storage import require_study

        return require_study(self.study_url, search)

    def report(self, search: str) -> "Report":
        """The report of a search; it is also logged to the search's run in MLflow.

        Raises:
            SearchError: there is no such store or search, it has no finished trial, or it belongs to another store.
        """
        from kmcl_platform.api.pages import Report
        from kmcl_platform.tracking.report.page import write_report

        return Report(write_report(self, search))

    def champion(self, model: str) -> "Champion":
        """The version of a model that is in use; a search's model has the name of the search.

        Raises:
            RegistryError: the model has no champion.
        """
        from kmcl_platform.api.registered import find_champion

        return find_champion(self, model)

    def export_config(self, search: str, trial: int | None = None) -> str:
        """A trial as the text of a search file, with every value written out. None: the trial that is promoted.

        Raises:
            SearchError: there is no such store, search or trial, or no trial has reached its last epoch.
        """
        from kmcl_platform.tracking.comparison.trial_file import trial_file

        return trial_file(self, search, trial).decode()

    def parts(self) -> Iterable[RenderableType]:
        """The folder and its searches."""
        from kmcl_platform.errors import SearchError

        yield f"store {self.root}"
        try:
            yield from (f"  {name}" for name in self.searches() or ["no searches"])
        except SearchError:
            yield "  no searches: nothing has been written yet"


AnyStore = Store | str | PathLike[str] | None
"""A store, or its folder. None: the one of the command line without options."""


def as_store(store: AnyStore) -> Store:
    """The store that a caller names."""
    return store if isinstance(store, Store) else Store(store)
