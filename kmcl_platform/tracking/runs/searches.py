"""The searches of a store in MLflow, and the search files in their record."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import FindPlugin, parse_search_file
from kmcl_platform.config.store import Store
from kmcl_platform.errors import ConfigError, SearchError
from kmcl_platform.messages import count_of, mask_passwords
from kmcl_platform.plugins.source import PluginSource, know_plugin
from kmcl_platform.tracking.database import connect_to_read, find_runs, store_name
from kmcl_platform.tracking.database.addresses import sqlite_file
from kmcl_platform.tracking.database.sqlite_database import is_initialised
from kmcl_platform.tracking.runs.artifacts import read_artifact
from kmcl_platform.tracking.runs.names import (
    LATEST_FILE_TAG,
    PLUGINS_FOLDER,
    PLUGINS_TAG,
    SEARCH_FILE,
    SEARCH_TAG,
    plugin_file,
)
from kmcl_platform.tracking.runs.ownership import is_own

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run


def list_searches(store: Store) -> list[str]:
    """Sorted names of the searches in MLflow, on a server those of other stores too; creates nothing.

    Raises:
        SearchError: there is no such store.
    """
    return _names(_search_experiments(connect_to_read(store)))


def list_own_searches(store: Store) -> list[str]:
    """Sorted names of the searches that belong to this store; creates nothing.

    Raises:
        SearchError: there is no such store.
    """
    client = connect_to_read(store)
    return _names(one for one in _search_experiments(client) if is_own(client, store, one))


def find_parent(client: "MlflowClient", store: Store, search: str) -> "Run":
    """The run of a search, whose children are its trials.

    Raises:
        SearchError: there is no such search.
    """
    experiment = client.get_experiment_by_name(search)
    # A search's experiment has its name (`runs/ownership.py`).
    parents = find_runs(client, experiment.experiment_id, role="search", search=search) if experiment else []
    if not parents:
        there = ", ".join(_names(_search_experiments(client))) or "none"
        raise SearchError(f"{store_name(store)}: no search {search!r}; valid: {there}")
    return parents[0]


def check_recorded(store: Store, search: str, num_ended: int) -> None:
    """Refuse to go on with a search whose record is lost: a new record would have no epochs of the trials that ended.

    Args:
        store: where the record should be.
        search: the search's name.
        num_ended: trials that have ended in its study. 0: there need not be a record.

    Raises:
        SearchError: there is no record, and trials have ended.
    """
    if num_ended == 0:
        return
    database = sqlite_file(store)
    if database is None or is_initialised(database):
        client = connect_to_read(store)
        experiment = client.get_experiment_by_name(search)
        # What is deleted in MLflow has an error of its own, which says how to restore it.
        if experiment and (
            experiment.lifecycle_stage != "active"
            or find_runs(client, experiment.experiment_id, role="search", search=search)
        ):
            return
    raise SearchError(
        f"{store_name(store)}: {count_of(num_ended, 'trial')} of search {search!r} ended, and MLflow has no record of "
        f"it; valid: the tracking database of that time, or another name with warm_start: [{search}]"
    )


def check_not_recorded(store: Store, search: str) -> None:
    """Refuse to begin a search whose study is lost: its trials would be written into the runs of those that were.

    Args:
        store: where there is no study of the search.
        search: the search's name.

    Raises:
        SearchError: MLflow has trials of it.
    """
    database = sqlite_file(store)
    if database is not None and not is_initialised(database):
        return
    client = connect_to_read(store)
    experiment = client.get_experiment_by_name(search)
    runs = find_runs(client, experiment.experiment_id, role="trial", search=search) if experiment else []
    if runs:
        raise SearchError(
            f"{mask_passwords(store.study_url)}: no study of search {search!r}, of which MLflow has "
            f"{count_of(len(runs), 'trial')}; valid: the study database of that time, or another name"
        )


def read_latest_file(store: Store, search: str) -> tuple[bytes, FindPlugin]:
    """The bytes of the search file with which a search last ran, and what finds its plug-ins.

    Raises:
        SearchError: there is no such store or search, or its record is incomplete.
    """
    client = connect_to_read(store)
    return _latest_of(client, find_parent(client, store, search), search)


def _latest_of(client: "MlflowClient", parent: "Run", search: str) -> tuple[bytes, FindPlugin]:
    content = read_artifact(client, parent.info.run_id, parent.data.tags.get(LATEST_FILE_TAG, SEARCH_FILE))
    return content, find_recorded(client, parent.info.run_id, search)


def find_recorded(client: "MlflowClient", run_id: str, search: str) -> FindPlugin:
    """Finds the plug-ins of a search in its record.

    Args:
        client: of MLflow.
        run_id: of the search's run.
        search: its name, for messages.
    """

    def find(name: str) -> PluginSource:
        digests = json.loads(client.get_run(run_id).data.tags.get(PLUGINS_TAG, "{}"))
        _know_all(client, run_id, search)
        if name not in digests:
            raise ConfigError(f"plugins: got {name!r}, which the record does not have; valid: {', '.join(digests)}")
        file = plugin_file(name, digests[name])
        return PluginSource(name, read_artifact(client, run_id, file).decode(), f"{file} of search {search!r}")

    return find


def know_recorded_plugins(store: Store, search: str) -> None:
    """Make all code known that the plug-ins of a search have had: earlier trials may have begun with other code.

    A search that was killed before it had a record has no such trials.
    """
    database = sqlite_file(store)
    if database is not None and not is_initialised(database):
        return
    client = connect_to_read(store)
    experiment = client.get_experiment_by_name(search)
    for run in find_runs(client, experiment.experiment_id, role="search", search=search) if experiment else ():
        _know_all(client, run.info.run_id, search)


def _know_all(client: "MlflowClient", run_id: str, search: str) -> None:
    for one in client.list_artifacts(run_id, PLUGINS_FOLDER):
        name = Path(one.path).stem.rpartition("-")[0]
        know_plugin(PluginSource(name, read_artifact(client, run_id, one.path).decode(), f"{one.path} of {search!r}"))


def read_latest_search_file(store: Store, search: str) -> SearchFile:
    """The search file with which a search last ran, with its plug-ins from the record.

    Raises:
        SearchError: as `read_latest_file`.
        ConfigError: the file is not valid for this version of the platform.
    """
    client = connect_to_read(store)
    return read_latest_search_file_of(client, find_parent(client, store, search), search)


def read_latest_search_file_of(client: "MlflowClient", parent: "Run", search: str) -> SearchFile:
    """As `read_latest_search_file`, from the search's run."""
    content, find = _latest_of(client, parent, search)
    return parse_search_file(content, f"{SEARCH_FILE} of search {search!r}", find)


def read_search_file_of(client: "MlflowClient", parent_id: str, search: str) -> SearchFile:
    """The search file with which a search began, from its run.

    Raises:
        SearchError: the file is missing.
        ConfigError: the file is not valid for this version of the platform.
    """
    content = read_artifact(client, parent_id, SEARCH_FILE)
    return parse_search_file(content, f"{SEARCH_FILE} of search {search!r}", find_recorded(client, parent_id, search))


def _search_experiments(client: "MlflowClient") -> "Iterator[Experiment]":
    token: str | None = None
    while True:
        page = client.search_experiments(page_token=token)
        # A server may also have experiments of other programs.
        yield from (experiment for experiment in page if SEARCH_TAG in experiment.tags)
        token = page.token
        if not token:
            return


def _names(experiments: "Iterable[Experiment]") -> list[str]:
    return sorted(experiment.name for experiment in experiments)
