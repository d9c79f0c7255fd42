"""MLflow's own UI on a store, on loopback only."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable

from kmcl_platform.config.store import Store
from kmcl_platform.errors import KmclError, SearchError
from kmcl_platform.messages import mask_passwords
from kmcl_platform.tracking.database import connect_to_read, is_server
from kmcl_platform.tracking.database.ui_urls import model_url, report_url, run_table_url
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.tracking.runs.searches import find_parent, list_searches

HOST = "127.0.0.1"
_LAST_LINES_SECONDS = 5
"""Longest time for the last lines of the server. The pipe stays open as long as any process of the server has it."""


def serve_ui(store: Store, port: int, say: Callable[[str], None]) -> None:
    """Print links to the store's searches and models, then serve until SIGINT or SIGTERM.

    Args:
        store: the store to show.
        port: TCP port on loopback, 1 to 65535.
        say: prints one line.

    Raises:
        SearchError: the store does not exist, it is on an MLflow server, which has its own UI, or the port is taken.
    """
    if is_server(store):
        raise SearchError(
            f"--tracking-uri: got {store.tracking_uri}, a server that has its own UI; valid: open that address in a "
            "browser, or give the address of a database"
        )
    client = connect_to_read(store)
    # MLflow's server takes about ten seconds until it finds that the port is taken.
    _check_port(port)
    base = f"http://{HOST}:{port}"
    say(f"MLflow starts on {base} (Ctrl-C ends it)")
    for search in list_searches(store):
        try:
            board = read_leaderboard(store, search)
        except KmclError as error:
            # The user may need MLflow's UI to repair a record that was changed by hand, so its error does not end this.
            say(f"  search {search}: no link ({error})")
            continue
        say(f"  search {search}: {run_table_url(base, board.experiment_id, board.metric, board.mode)}")
        run = find_parent(client, store, search)
        if run.info.status == "FINISHED":
            say(f"    its report: {report_url(base, board.experiment_id, run.info.run_id)}")
    for model in client.search_registered_models():
        say(f"  model {model.name}: {model_url(base, model.name)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM ends the server as Ctrl-C does.
    server = start_server(store, port)
    assert server.stdout is not None
    # A thread reads the output all the time: a server whose pipe is full stops. A daemon: it may outlive the time limit
    # below.
    copier = threading.Thread(target=copy_masked, args=(server.stdout, sys.stderr.write), daemon=True)
    copier.start()
    try:
        code = server.wait()
    except KeyboardInterrupt:
        code = 0
    finally:
        server.terminate()
        server.wait()
        copier.join(_LAST_LINES_SECONDS)
    # A negative code is the number of the signal that ended the server. That is not reported as a fault.
    if code > 0:
        raise SearchError(
            f"MLflow's server ended with exit code {code}; valid: repair what its message above says, then start again"
        )


def start_server(store: Store, port: int) -> "subprocess.Popen[str]":
    """Start MLflow's server on a store; its output can be read from `stdout`.

    The database's address goes through the environment: it may hold a password, and every user of the machine can read
    the command line of a process.
    """
    command = [
        sys.executable, "-m", "mlflow", "server",
        "--artifacts-destination", str(store.artifacts),
        "--host", HOST, "--port", str(port), "--workers", "1",
        # Only what the user may have to repair, not a line for each request.
        "--uvicorn-opts", "--log-level warning",
    ]  # fmt: skip
    settings = {
        "MLFLOW_BACKEND_STORE_URI": store.tracking_uri,
        "MLFLOW_REGISTRY_STORE_URI": store.tracking_uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # Its job runner starts seven processes of 240 MB each.
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Of MLflow's own libraries. They help its developers alone.
        "PYTHONWARNINGS": "ignore",
    }
    return subprocess.Popen(
        command,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def copy_masked(lines: Iterable[str], write: Callable[[str], object]) -> None:
    """Pass lines on, with the passwords of all addresses in them masked."""
    for line in lines:
        write(mask_passwords(line))


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise SearchError(f"--port: {port} is taken on {HOST}; valid: a free port, such as {port + 1}")
