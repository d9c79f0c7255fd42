"""MLflow's own UI on a store, on loopback only."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

from kmcl_platform.config.store import Store
from kmcl_platform.errors import SearchError
from kmcl_platform.tracking.database import connect_to_read
from kmcl_platform.tracking.database.ui_urls import model_url, run_table_url
from kmcl_platform.tracking.runs.leaderboard import list_searches, read_leaderboard

HOST = "127.0.0.1"


def serve_ui(store: Store, port: int, say: Callable[[str], None]) -> None:
    """Print links to the store's searches and models, then serve until interrupted.

    Args:
        store: what is shown.
        port: TCP port on loopback, 1 to 65535.
        say: prints one line.

    Raises:
        SearchError: the store does not exist, is served by a server of its own, or the port is taken.
    """
    client = connect_to_read(store)
    if store.tracking_uri.startswith(("http://", "https://")):
        raise SearchError(f"{store.tracking_uri} is a server with a UI of its own: open it in a browser")
    _check_port(port)
    base = f"http://{HOST}:{port}"
    say(f"MLflow is starting on {base} (Ctrl-C ends it)")
    for search in list_searches(store):
        board = read_leaderboard(store, search)
        say(f"  search {search}: {run_table_url(base, board.experiment_id, board.metric, board.mode)}")
    for model in client.search_registered_models():
        say(f"  model {model.name}: {model_url(base, model.name)}")
    command = [
        sys.executable, "-m", "mlflow", "server",
        "--backend-store-uri", store.tracking_uri,
        "--artifacts-destination", str(store.artifacts),
        "--host", HOST, "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen(command, env=environment)

    def stop(*_: object) -> None:
        server.terminate()

    signal.signal(signal.SIGTERM, stop)
    try:
        code = server.wait()
    except KeyboardInterrupt:
        server.terminate()
        server.wait()
        return
    if code > 0:
        raise SearchError(f"MLflow's server ended with exit code {code}; its message stands above")


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise SearchError(f"--port: {port} is taken on {HOST}; valid: a free port, such as {port + 1}")
