"""The Ray cluster that a command works on: one that runs, or one started on this machine for the command."""

import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kmcl_platform.errors import ClusterError
from kmcl_platform.messages import show_path, show_value
from kmcl_platform.search.cluster import loopback
from kmcl_platform.search.cluster.resources import CLUSTER_NODES, parse_nodes

WORKER_ENVIRONMENT = {
    # How often Train looks at its workers, in seconds: it bounds how late an epoch's report is noticed.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Without this every line of a worker is printed twice.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Our MLflow record is the only logger.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune's newer output prints a table even with `verbose=0`.
    "RAY_AIR_NEW_OUTPUT": "0",
    # One process less for each group of workers.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}

_DASHBOARD = "RAY_API_SERVER_ADDRESS"

_LONGEST_TEMPORARY_FOLDER = 36
"""Characters. Linux allows 107 in the path of a socket, and Ray's own names below its folder take up to 70."""

_logger = logging.getLogger(__name__)


def cluster_address(address: str | None) -> str | None:
    """The address of the cluster that a search runs on; None: Ray is started on this machine.

    Args:
        address: the option `--address`; without it, `RAY_ADDRESS` of the environment is used.

    Raises:
        ClusterError: the address is not one that a driver can connect to.
    """
    cluster = address or os.environ.get("RAY_ADDRESS")
    if cluster and "://" in cluster:
        raise ClusterError(
            f"{'--address' if address else 'RAY_ADDRESS'}: got {show_value(cluster)}; valid: auto, or HOST:PORT of the "
            "cluster's head (port 6379); an http:// address is that of the job server, which kmcl submit takes"
        )
    return cluster or None


def start_ray(address: str | None) -> None:
    """Connect to a running cluster (`auto`, `HOST:PORT`); None: start Ray on this machine, on loopback.

    Raises:
        ClusterError: the cluster cannot be reached, or Ray cannot be started.
    """
    cluster = cluster_address(address)
    # Ray and Tune read these when they are imported. A value that the user has set wins.
    os.environ.update({name: os.environ.get(name, value) for name, value in WORKER_ENVIRONMENT.items()})
    # Otherwise, under `uv run`, Ray would upload this folder and start every worker through uv.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Ray runs its workers at niceness 15: on a machine with other work, training would get almost no time.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if not cluster:
        os.environ.update(loopback.ENVIRONMENT)
        _use_short_temporary_folder()
        _provide_token()
    import ray

    if not cluster:
        _refresh_settings()

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not cluster:
        with _dashboard_port() as port:
            # The dashboard stays on: without it Ray leaks the reservations of stopped trials.
            dashboard: dict[str, Any] = {
                "include_dashboard": True,
                "dashboard_host": loopback.LOOPBACK,
                "dashboard_port": port,
            }
            try:
                ray.init("local", **dashboard, **quiet)
            except Exception as error:
                # Any type: on a machine so busy that the node is not ready after 30 s, Ray raises a plain Exception.
                # Processes that did start would stay.
                ray.shutdown()
                raise ClusterError(
                    f"Ray: cannot be started on this machine: {' '.join(str(error).split())}; valid: a machine "
                    "with free CPUs and memory; HOME and TMPDIR with room, in which this user can write"
                ) from error
        return
    # Ray Train uses this address to find its own cluster, see `_dashboard_port`.
    own = {} if cluster == "auto" else {"RAY_ADDRESS": cluster}
    try:
        # Processes of a running cluster do not inherit our environment, so it is sent with the job.
        ray.init(cluster, runtime_env={"env_vars": WORKER_ENVIRONMENT | own}, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"Ray cluster: got {show_value(cluster)}, which cannot be reached: {' '.join(str(error).split())}; valid: "
            "auto on a node of a running cluster, or HOST:PORT of its head (port 6379)"
        ) from None


@contextmanager
def _dashboard_port() -> Iterator[int]:
    """A free port for a local Ray's dashboard; processes that Ray starts inside the block know it.

    Ray Train frees the CPUs of a killed group's workers only if it can ask its own Ray for their state. Without an
    address it searches all processes, and gives up if another Ray runs on the machine. Processes of a local Ray inherit
    the environment of this one; a runtime environment would add seconds to every start.
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


def _use_short_temporary_folder() -> None:
    """Replace a TMPDIR in which Ray's sockets cannot be made: too long a path for Linux, or not ASCII.

    Raises:
        ClusterError: no folder for temporary files can be used.
    """
    wanted = tempfile.gettempdir()
    usable = [folder for folder in (wanted, "/tmp", "/var/tmp", "/dev/shm") if _is_short_folder(folder)]
    if not usable:
        raise ClusterError(
            f"TMPDIR: got {show_path(wanted)}; valid: a folder of at most {_LONGEST_TEMPORARY_FOLDER} ASCII characters "
            "in which this user can write"
        )
    if usable[0] != wanted:
        _logger.warning("temporary files go to %s: Ray cannot use %s", usable[0], show_path(wanted))
        # Ray and all its processes read the variable; `tempfile` keeps what it has read once.
        os.environ["TMPDIR"] = tempfile.tempdir = usable[0]


def _is_short_folder(folder: str) -> bool:
    short = folder.isascii() and len(folder) <= _LONGEST_TEMPORARY_FOLDER
    return short and Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _provide_token() -> None:
    """Put Ray's token into the environment if Ray cannot keep it in its file, `~/.ray/auth_token`.

    A Ray that is started on this machine asks every process for this token. Ray writes a random one into the file, and
    fails if HOME cannot be written. All processes of this Ray inherit the environment.
    """
    # Older versions of Ray ask for a token only if this is set.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    try:
        token = Path.home() / ".ray" / "auth_token"
        token.parent.mkdir(parents=True, exist_ok=True)
        # Ray can read its file, or write a new one.
        if os.access(token if token.exists() else token.parent, os.R_OK | os.W_OK):
            return
        # Ray can read the token in a file that it cannot write.
        if token.stat().st_size and os.access(token, os.R_OK):
            return
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home at all.
        _logger.warning("Ray's token is kept in the environment of this search: HOME cannot be used: %s", error)
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _refresh_settings() -> None:
    """Let Ray read its settings again.

    It reads them when it is imported, and the program that calls us, or a plug-in, may have imported it before. This
    process would then ask the new Ray without the token, and be refused. `ray.init` does the same if it chooses tokens.
    """
    from ray._raylet import Config  # type: ignore[attr-defined]  # a compiled module

    Config.initialize("")


def stop_ray() -> None:
    """Leave the cluster, and end it if `start_ray` started it."""
    import ray

    ray.shutdown()


def trial_nodes() -> list[dict[str, float]]:
    """The resources of each node that trials may use: `CPU`, `GPU`, and for a running node also `memory` in bytes.

    On a cluster that grows, these are the declared nodes. Trials wait until their workers have a node, and their demand
    makes the cluster grow.

    Raises:
        ResourceError: the declaration, `KMCL_CLUSTER_NODES`, has another form.
    """
    import ray

    if declared := os.environ.get(CLUSTER_NODES):
        return parse_nodes(declared)
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
