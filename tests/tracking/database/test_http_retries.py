"""A server that dies in the middle of an answer: the request is sent again, and done once."""

import socket
import threading
from pathlib import Path

import pytest

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.database import find_runs
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome
from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.story


class CuttingProxy:
    """A proxy that gives each request its own connection to a server. It can cut an answer after its head."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.cut: dict[bytes, int] = {}
        self.done: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server)) as server:
            request = self._read_message(client)
            if not request:
                return
            head, _, rest = request.partition(b"\r\n")
            server.sendall(head + b"\r\nConnection: close\r\n" + rest.replace(b"Connection: keep-alive\r\n", b""))
            answer = b""
            while data := server.recv(65536):
                answer += data
            for path, left in self.cut.items():
                if path in head and left:
                    self.cut[path] -= 1
                    self.done.append(path)
                    answer = answer[: answer.index(b"\r\n\r\n") + 4]
            client.sendall(answer)

    @staticmethod
    def _read_message(client: socket.socket) -> bytes:
        message = b""
        while b"\r\n\r\n" not in message:
            data = client.recv(65536)
            if not data:
                return b""
            message += data
        head, _, body = message.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += client.recv(65536)
        return head + b"\r\n\r\n" + body


@pytest.fixture
def proxy(mlflow_server: MlflowServer) -> CuttingProxy:
    return CuttingProxy(mlflow_server.port)


@pytest.fixture
def search_yaml(search_yaml: bytes, request: pytest.FixtureRequest) -> bytes:
    """The search file with a name for each test, because all tests of the session share the server."""
    return search_yaml.replace(b"name: tiny", f"name: {request.node.name[:40]}".encode())


def test_an_interrupted_request_is_done_once(
    proxy: CuttingProxy, tmp_path: Path, search_file: SearchFile, search_yaml: bytes
) -> None:
    place = open_store(tmp_path / "own", tracking_uri=f"http://127.0.0.1:{proxy.port}")
    (tmp_path / "own").mkdir(exist_ok=True)
    runs = SearchRuns.open(place, search_file, search_yaml, "tiny.yaml")
    proxy.cut = {b"runs/create": 1, b"runs/log-batch": 1, b"runs/update": 1}
    runs.trials.begin(0, search_file.base, baseline=True)
    proxy.cut[b"runs/log-batch"] = 1
    runs.trials.log_epochs(0, [(EpochReport(epoch=1, metrics={"val/mAP": 0.5}, seconds=2.0), None)])
    runs.trials.end(0, TrialOutcome.PRUNED, objective=0.5)
    runs.end("finished")
    assert sorted(set(proxy.done)) == [b"runs/create", b"runs/log-batch", b"runs/update"]
    client = runs._client
    (run,) = find_runs(client, runs.experiment_id, role="trial", search=search_file.name)
    assert (run.info.status, run.data.tags["kmcl.outcome"]) == ("FINISHED", "pruned")
    assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "val/mAP")] == [(1, 0.5)]


def test_a_server_that_always_dies_is_reported(
    proxy: CuttingProxy, tmp_path: Path, search_file: SearchFile, search_yaml: bytes
) -> None:
    from mlflow.exceptions import MlflowException

    place = open_store(tmp_path / "own", tracking_uri=f"http://127.0.0.1:{proxy.port}")
    (tmp_path / "own").mkdir(exist_ok=True)
    runs = SearchRuns.open(place, search_file, search_yaml, "tiny.yaml")
    proxy.cut = {b"runs/log-batch": 1000}
    with pytest.raises(MlflowException, match="API request to "):
        runs.trials.begin(0, search_file.base, baseline=True)
    assert len(proxy.done) == 5
