"""`kmcl ui`: MLflow's own server listens on loopback only, ends with all its processes, and shows no password."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import psutil
import pytest

from kmcl_platform.config.store import Store
from kmcl_platform.tracking import ui_server
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome
from kmcl_platform.tracking.ui_server import copy_masked, serve_ui
from tests.support.command_line import kmcl, kmcl_command
from tests.support.waiting import answers, free_port, wait_until


def start_ui(store: Store, port: int) -> subprocess.Popen[str]:
    command = kmcl_command("ui", "--port", port, store=store.root)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.story
def test_ui_serves_on_loopback_until_it_is_ended(
    store: Store, open_runs: Callable[[], SearchRuns], run_trial: Callable[..., None]
) -> None:
    runs = open_runs()
    run_trial(runs, 0, [0.1, 0.2, 0.3, 0.4], TrialOutcome("completed"), objective=0.4)
    runs.end("finished")
    port = free_port()
    ui = start_ui(store, port)
    children: list[psutil.Process] = []
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), process=ui)
        children = psutil.Process(ui.pid).children(recursive=True)
        listening = {
            connection.laddr.ip
            for process in children
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        # Every user of the machine can read command lines: the address of the database may hold a password.
        words = [word for process in (psutil.Process(ui.pid), *children) for word in process.cmdline()]
        assert "server" in words and not any("mlflow.db" in word for word in words)
        ui.send_signal(signal.SIGTERM)
        output, said = ui.communicate(timeout=60)
    finally:
        ui.kill()
    assert ui.returncode == 0
    assert f"search tiny: http://127.0.0.1:{port}/#/experiments/" in output
    assert f"/runs/{runs.parent_id}/artifacts/report/report.html" in output
    # Nothing that the user need not repair.
    assert "INFO" not in said and "Warning" not in said
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


def test_a_taken_port_is_reported_in_one_line(store: Store, open_runs: Callable[[], SearchRuns]) -> None:
    open_runs().end("finished")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = kmcl("ui", "--port", port, store=store.root)
    assert done.exit_code == 2
    assert done.stderr.strip() == f"kmcl: --port: {port} is taken on 127.0.0.1; valid: a free port, such as {port + 1}"


def test_the_servers_output_has_no_password() -> None:
    written: list[str] = []
    copy_masked(["INFO: up\n", "backend-store-uri postgresql://me:s3cr3t@host/db failed\n"], written.append)
    assert written == ["INFO: up\n", "backend-store-uri postgresql://me:***@host/db failed\n"]


def test_what_the_server_prints_is_shown_without_passwords(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server is replaced by a real process that prints an address and ends."""
    command = [sys.executable, "-c", "print('backend-store-uri postgresql://me:s3cr3t@host/db')"]

    def start(*_: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    monkeypatch.setattr(ui_server, "start_server", start)
    before = signal.getsignal(signal.SIGTERM)
    try:
        serve_ui(store, free_port(), print)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "backend-store-uri postgresql://me:***@host/db\n"
