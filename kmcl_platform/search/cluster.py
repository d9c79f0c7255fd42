"""The Ray cluster that a command works on: one that runs, or one started in this machine for the command."""

import logging
import os
from typing import Any

from kmcl_platform.errors import ClusterError
from kmcl_platform.search import loopback
from kmcl_platform.search.resources import CLUSTER_NODES, parse_nodes

WORKER_ENVIRONMENT = {
    # How often Train looks at its workers, in seconds: it bounds how late an epoch's report is noticed.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Without it every worker's line is printed twice.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Our MLflow record is the only logger.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune's newer output prints a table even where it is asked for none.
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


def start_ray(address: str | None) -> None:
    """Connect to a running cluster (`auto`, `HOST:PORT`), or with none start Ray in this machine, on loopback.

    Raises:
        ClusterError: the cluster cannot be reached.
    """
    # Ray and Tune read these when they are imported.
    os.environ.update({name: os.environ.get(name, value) for name, value in WORKER_ENVIRONMENT.items()})
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Ray runs its workers at niceness 15: on a machine that does anything else, training would get the leavings.
    os.environ.setdefault("RAY_worker_niceness", "0")
    cluster = address or os.environ.get("RAY_ADDRESS")
    if not cluster:
        os.environ.update(loopback.ENVIRONMENT)
    import ray

    where: dict[str, Any] = (
        {"address": cluster}
        if cluster
        # The dashboard stays on: without it Ray leaks the reservations of stopped trials.
        else {"address": "local", "include_dashboard": True, "dashboard_host": loopback.LOOPBACK}
    )
    # Processes of a local Ray inherit this process's environment; asked for again it would cost every start seconds.
    runtime_env = {"env_vars": WORKER_ENVIRONMENT} if cluster else None
    try:
        ray.init(**where, log_to_driver=False, logging_level=logging.ERROR, runtime_env=runtime_env)
    except ConnectionError as error:
        raise ClusterError(f"Ray cluster at {cluster!r} cannot be reached: {' '.join(str(error).split())}") from None


def stop_ray() -> None:
    """Leave the cluster, and end it if `start_ray` started it."""
    import ray

    ray.shutdown()


def trial_nodes() -> list[dict[str, float]]:
    """The resources of each node that trials may have (`CPU`, `GPU`, and where the node is there `memory` in bytes, …).

    On a cluster that grows these are the promised ones: trials whose workers find no node yet wait, and their demand is
    what makes it grow.

    Raises:
        ResourceError: the promise, `KMCL_CLUSTER_NODES`, is of another form.
    """
    import ray

    if promised := os.environ.get(CLUSTER_NODES):
        return parse_nodes(promised)
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
