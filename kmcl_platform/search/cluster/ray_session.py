"""The Ray cluster that a command works on: one that runs, or one started in this machine for the command."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kmcl_platform.errors import ClusterError
from kmcl_platform.search.cluster import loopback
from kmcl_platform.search.cluster.resources import CLUSTER_NODES, parse_nodes

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

_DASHBOARD = "RAY_API_SERVER_ADDRESS"


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

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not cluster:
        with _dashboard_port() as port:
            # The dashboard stays on: without it Ray leaks the reservations of stopped trials.
            dashboard: dict[str, Any] = {
                "include_dashboard": True,
                "dashboard_host": loopback.LOOPBACK,
                "dashboard_port": port,
            }
            ray.init("local", **dashboard, **quiet)
        return
    # By this address Ray Train finds its own cluster, as `_dashboard_port` says.
    own = {} if cluster == "auto" else {"RAY_ADDRESS": cluster}
    try:
        ray.init(cluster, runtime_env={"env_vars": WORKER_ENVIRONMENT | own}, **quiet)
    except ConnectionError as error:
        raise ClusterError(f"Ray cluster at {cluster!r} cannot be reached: {' '.join(str(error).split())}") from None


@contextmanager
def _dashboard_port() -> Iterator[int]:
    """A free port for a local Ray's dashboard, known to the processes that Ray starts meanwhile.

    Ray Train frees the CPUs of a killed group's workers only if it can ask this very Ray for their state. Not told
    which, it looks over all processes, and gives up, for ever, if another Ray runs on the machine. Processes of a local
    Ray inherit this one's environment; a runtime environment would cost every start seconds.
    """
    with socket.socket() as probe:
        probe.bind((loopback.LOOPBACK, 0))
        port = int(probe.getsockname()[1])
    before = os.environ.get(_DASHBOARD)
    os.environ[_DASHBOARD] = f"http://{loopback.LOOPBACK}:{port}"
    try:
        yield port
    finally:
        if before is None:
            del os.environ[_DASHBOARD]
        else:
            os.environ[_DASHBOARD] = before


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
