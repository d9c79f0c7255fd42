"""The job server of a cluster: if it goes away during a command, the error is one line."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import ray

from kmcl_platform.errors import ClusterError
from kmcl_platform.search.cluster.jobs import SEARCH, Jobs, _refusal

JOB = {
    "type": "SUBMISSION",
    "submission_id": "kmcl-1",
    "status": "RUNNING",
    "entrypoint": "",
    "metadata": {SEARCH: "s"},
}
PAGES = {"/api/version": {"version": "4", "ray_version": ray.__version__}, "/api/jobs/": [JOB]}


class Server(BaseHTTPRequestHandler):
    """Ray's job server, with one job and nothing else."""

    def do_GET(self) -> None:
        page = PAGES.get(self.path)
        self.send_response(200 if page else 500)
        self.end_headers()
        self.wfile.write(json.dumps(page).encode())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    found = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


def connect(server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    return Jobs(f"http://127.0.0.1:{server.server_port}")


def test_a_server_that_goes_away_gives_one_line(server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = connect(server, monkeypatch)
    assert [job.job_id for job in jobs.list()] == ["kmcl-1"]
    server.shutdown()
    server.server_close()
    with pytest.raises(
        ClusterError, match=r"^http://127\.0\.0\.1:\d+: cannot be used: .*; valid: a Ray job server"
    ) as caught:
        jobs.stop("kmcl-1", seconds=10)
    assert "\n" not in str(caught.value)


def test_a_stream_that_cannot_be_opened_gives_one_line(server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    with pytest.raises(ClusterError, match=r"cannot be used: 500.*; valid: a Ray job server") as caught:
        connect(server, monkeypatch).follow("kmcl-1", printed.append)
    assert "\n" not in str(caught.value)
    assert printed == []


@pytest.mark.parametrize("address", ["http://127.0.0.1:40141", "http://node-401:8265", "http://10.0.0.1:40300"])
def test_digits_of_the_address_are_no_refused_token(address: str) -> None:
    broken = RuntimeError(
        f"500, message='Invalid response status', url='{address.replace('http', 'ws')}/api/jobs/1/tail'"
    )
    assert "cannot be used: 500" in str(_refusal(address, broken))
    refused = RuntimeError(f"401, message='Invalid response status', url='{address}/api/jobs/'")
    assert "refused, no valid token" in str(_refusal(address, refused))
