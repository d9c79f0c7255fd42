"""Which store a search on an MLflow server belongs to: two stores never write into each other's runs.

Each search has its own experiment of its name. MLflow lets only one experiment have a name, so the store that
creates the experiment, in one request with its id as a tag, owns the search. No lock is needed, even between machines.
"""

import socket
from typing import TYPE_CHECKING

from kmcl_platform.config.store import Store
from kmcl_platform.config.store_record import read_record, store_id
from kmcl_platform.errors import SearchError
from kmcl_platform.files.file_status import is_folder, is_there
from kmcl_platform.tracking.database import artifact_location, connect, find_runs, store_name
from kmcl_platform.tracking.runs.names import PLACE_TAG, SEARCH_TAG, STORE_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run


def check_owner(store: Store, search: str) -> None:
    """Refuse a search of this name if `claim_experiment` would refuse it; makes no experiment and no study.

    `kmcl search` calls it before it makes the search's study, so that a refused search leaves nothing behind.

    Raises:
        SearchError: the search belongs to another store, or its experiment was deleted in MLflow.
        NoAnswerError: nothing answers at the address.
    """
    # Then no other store can have the search, and MLflow's import, which takes seconds, is not needed yet.
    if store.is_local:
        return
    client = connect(store)
    experiment = client.get_experiment_by_name(search)
    if experiment is not None:
        _check_usable(client, store, experiment)


def claim_experiment(client: "MlflowClient", store: Store, search: str) -> str:
    """Find or create the experiment of a search, for this store.

    An experiment of an older version has no tag of a store. This store takes it over if the search's files are here,
    or if it has no search's run.

    Returns:
        The experiment's id.

    Raises:
        SearchError: the search belongs to another store, or its experiment was deleted in MLflow.
        StoreError: the store's record cannot be read or written.
    """
    from mlflow.exceptions import MlflowException

    place = f"{store.root} on {socket.gethostname()}"
    tags = {SEARCH_TAG: search, STORE_TAG: store_id(store), PLACE_TAG: place}
    experiment = client.get_experiment_by_name(search)
    if experiment is None:
        try:
            return str(client.create_experiment(search, artifact_location(store, search), tags))
        except MlflowException as error:
            # Another store may have created it in the meantime.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(search)
            if experiment is None:
                raise
    _check_usable(client, store, experiment)
    # A search of an older version has no tags, and a store that was moved has another place.
    for name, value in tags.items():
        if experiment.tags.get(name) != value:
            client.set_experiment_tag(experiment.experiment_id, name, value)
    return str(experiment.experiment_id)


def check_own(store: Store, experiment_id: str) -> None:
    """Refuse to write about a search that belongs to another store; creates nothing.

    Raises:
        SearchError: it belongs to another store.
    """
    client = connect(store)
    experiment = client.get_experiment(experiment_id)
    if not is_own(client, store, experiment):
        raise _other_store(store, experiment)


def is_own(client: "MlflowClient", store: Store, experiment: "Experiment") -> bool:
    """Whether the search of an experiment belongs to this store."""
    if store.is_local:
        return True
    owner = experiment.tags.get(STORE_TAG)
    if owner is None:
        search = experiment.name
        return _has_files(store, search) or not find_runs(client, experiment.experiment_id, role="search")
    # Read only: `store_id` would make a record.
    record = read_record(store)
    return record is not None and record.id == owner


def is_own_run(store: Store, run: "Run", owner: str | None) -> bool:
    """Whether a run in an experiment of this store is of this store too.

    Older versions let two stores write into one experiment. `owner` is this store's id; None: it has none yet.
    """
    return store.is_local or owner is None or run.data.tags.get(STORE_TAG, owner) == owner


def _check_usable(client: "MlflowClient", store: Store, experiment: "Experiment") -> None:
    if experiment.lifecycle_stage != "active":
        raise SearchError(
            f"{store_name(store)}: the experiment of search {experiment.name!r} was deleted in MLflow; "
            "valid: restore it there, or another name in the search file"
        )
    if not is_own(client, store, experiment):
        raise _other_store(store, experiment)


def _has_files(store: Store, search: str) -> bool:
    outbox = store.root / "outbox" / f"{search}.db"
    # `evidence` is the name that older versions gave to `figures`.
    folders = (store.checkpoints, store.root / "figures", store.root / "evidence")
    return is_there(outbox) or any(is_folder(folder / search) for folder in folders)


def _other_store(store: Store, experiment: "Experiment") -> SearchError:
    other = experiment.tags.get(PLACE_TAG, "its folder is not recorded")
    return SearchError(
        f"{store_name(store)}: search {experiment.name!r} belongs to another store ({other}), not to {store.root}; "
        "valid: another name in the search file, or --store with the store that began it"
    )
