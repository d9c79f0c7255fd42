"""MLflow's store as a database: open it, ask it, write to it, tell its troubles from other errors."""

from kmcl_platform.tracking.database.addresses import artifact_location, check_answers, is_server, store_name
from kmcl_platform.tracking.database.mlflow_store import (
    as_default,
    connect,
    connect_to_read,
    load_mlflow,
    locked,
    prepare_store,
)
from kmcl_platform.tracking.database.run_requests import find_runs, write, write_steps
from kmcl_platform.tracking.database.store_errors import find_trouble

__all__ = [
    "artifact_location",
    "as_default",
    "check_answers",
    "connect",
    "connect_to_read",
    "find_runs",
    "find_trouble",
    "is_server",
    "load_mlflow",
    "locked",
    "prepare_store",
    "store_name",
    "write",
    "write_steps",
]
