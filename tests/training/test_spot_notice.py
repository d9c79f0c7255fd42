"""The notice of a cloud, from a server that answers as its metadata service does."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kmcl_platform.training.workers import notice, spot_notice

ACTION = '{"action": "terminate", "time": "2026-11-30T08:22:00Z"}'


class Cloud(ThreadingHTTPServer):
    """Answers for Amazon and for Google. `given`: it has a notice. `broken`: it answers nothing of use."""

    given = False
    broken = False
    asked = 0


class Handler(BaseHTTPRequestHandler):
    server: Cloud

    def do_PUT(self) -> None:
        is_right = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._answer(200 if is_right else 403, "secret")

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.server.broken:
            self._answer(500, "")
        elif self.path == "/latest/meta-data/spot/instance-action":
            allowed = self.headers["X-aws-ec2-metadata-token"] == "secret"
            self._answer(401 if not allowed else 200 if self.server.given else 404, ACTION)
        elif self.path == "/computeMetadata/v1/instance/preempted":
            allowed = self.headers["Metadata-Flavor"] == "Google"
            self._answer(200 if allowed else 403, "TRUE" if self.server.given else "FALSE")

    def _answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    server = Cloud(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(spot_notice, "METADATA", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(spot_notice, "SECONDS_BETWEEN", 0.01)
    # A proxy that is set must not be asked.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    yield server
    server.given = True
    # The watching thread ends when the notice was taken.
    with notice.training():
        wait_until(lambda: not any(thread.name == "spot notice" for thread in threading.enumerate()))
    notice.forget()
    spot_notice._seen.clear()
    spot_notice._outlived.clear()
    server.shutdown()
    server.server_close()


def wait_until(condition: object) -> None:
    end = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_a_notice_reaches_a_training(name: str, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMCL_SPOT_NOTICE", name)
    spot_notice.watch()
    wait_until(lambda: cloud.asked > 3)
    assert not notice.is_given()
    cloud.broken = True
    wait_until(lambda: cloud.asked > 6)
    cloud.broken = False
    cloud.given = True
    # While nothing trains, no trial begins here.
    wait_until(spot_notice._seen.is_set)
    assert not notice.is_given()
    with notice.training():
        wait_until(notice.is_given)


def test_a_machine_that_is_not_taken_away_goes_on(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spot_notice.wait_if_given()
    monkeypatch.setenv("KMCL_SPOT_NOTICE", "gcp")
    monkeypatch.setattr(spot_notice, "SECONDS_OF_A_NOTICE", 0.5)
    cloud.given = True
    spot_notice.watch()
    wait_until(spot_notice._seen.is_set)
    started = time.monotonic()
    spot_notice.wait_if_given()
    assert time.monotonic() - started >= 0.5
    assert "was not taken away" in caplog.text
    with notice.training():
        asked = cloud.asked
        wait_until(lambda: not any(thread.name == "spot notice" for thread in threading.enumerate()))
        assert cloud.asked <= asked + 1 and not notice.is_given(), "nothing is asked any more"


def test_without_the_variable_nothing_is_asked_and_a_wrong_one_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("KMCL_SPOT_NOTICE", raising=False)
    spot_notice.watch()
    monkeypatch.setenv("KMCL_SPOT_NOTICE", "amazon")
    spot_notice.watch()
    assert "KMCL_SPOT_NOTICE: got 'amazon'; valid: aws, gcp; no notice is asked for" in caplog.text
    assert not any(thread.name == "spot notice" for thread in threading.enumerate())
