"""The password of a tracking address reaches the server, but no message, error or tag."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import open_store
from kmcl_platform.errors import SearchError
from kmcl_platform.tracking.database import connect, load_mlflow
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome
from kmcl_platform.tracking.ui_server import serve_ui

PASSWORD = "s3cr3t/pw"
IN_URL = "s3cr3t%2Fpw"


class Server(ThreadingHTTPServer):
    """A server that answers like MLflow's, without any run."""

    seen: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append(self.headers.get("Authorization") or "")
        found = "runs/get" not in self.path
        body = json.dumps({} if found else {"error_code": "INTERNAL_ERROR", "message": "broken"}).encode()
        self.send_response(200 if found else 400)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer

    def log_message(self, *words: object) -> None:
        """Write nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # Set first: only then monkeypatch restores it after the test.
        monkeypatch.delenv(name)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.seen = []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def test_mlflow_sends_the_password_and_never_shows_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_mlflow()
    from mlflow.exceptions import MlflowException

    store = open_store(tmp_path, tracking_uri=f"http://me:{IN_URL}@127.0.0.1:{server.server_port}")
    client = connect(store)
    with pytest.raises(MlflowException) as caught:
        client.get_run("0" * 32)
    assert server.seen[-1] == "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert "s3cr3t" not in f"{caught.value} {client.tracking_uri}"
    server.shutdown()
    server.server_close()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MlflowException, match="API request to") as away:
        client.get_run("0" * 32)
    assert "s3cr3t" not in str(away.value)


def test_a_server_with_a_ui_of_its_own_is_named_without_the_password(server: Server, tmp_path: Path) -> None:
    store = open_store(tmp_path, tracking_uri=f"http://me:{IN_URL}@127.0.0.1:{server.server_port}")
    with pytest.raises(SearchError) as caught:
        serve_ui(store, 5000, print)
    assert f"got http://me:***@127.0.0.1:{server.server_port}, a server that has its own UI" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_the_reason_of_a_trials_end_has_no_password(open_runs: object, search_file: SearchFile) -> None:
    runs: SearchRuns = open_runs()  # type: ignore[operator]
    runs.trials.begin(0, search_file.base, baseline=True)
    runs.trials.end(0, TrialOutcome.FAILED, "no answer from http://me:s3cr3t@host" + "x" * 10_000, objective=None)
    (run,) = [run for run in runs._client.search_runs([runs.experiment_id]) if run.data.tags["kmcl.role"] == "trial"]
    reason = run.data.tags["kmcl.reason"]
    assert reason.startswith("no answer from http://me:***@host") and len(reason) < 1100
