"""A search whose Ray is gone ends, with a line for the user."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kmcl_platform.search.run.on_ray import ray_watch
from kmcl_platform.search.run.on_ray.ray_watch import EXIT_INTERRUPTED, RayWatch
from tests.support.command_line import kmcl, start_kmcl
from tests.support.waiting import free_port, wait_until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_watch, "_CHECK_SECONDS", 0.01)
    monkeypatch.setattr(ray_watch, "_ORDERLY_SECONDS", 0.2)


def test_while_the_head_answers_nothing_happens() -> None:
    ended: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        with RayWatch(address, lambda _: None, ended.append) as watch:
            for _ in range(10):
                head.accept()[0].close()
            assert watch._thread.is_alive()
    watch._thread.join(10)
    assert not watch._thread.is_alive() and not ended


def test_a_head_that_is_gone_ends_the_process() -> None:
    ended, said, done = [], [], threading.Event()

    def end(code: int) -> None:
        ended.append(code)
        done.set()

    with RayWatch(f"127.0.0.1:{free_port()}", said.append, end):
        assert done.wait(30)
    assert ended == [EXIT_INTERRUPTED] and said == [
        "Ray's processes have ended, so the search stops; nothing is lost. To go on: the same command"
    ]


def test_a_search_that_ends_by_itself_says_nothing() -> None:
    ended: list[int] = []
    with RayWatch(f"127.0.0.1:{free_port()}", lambda _: None, ended.append) as watch:
        wait_until(lambda: True, seconds=1)
    watch._thread.join(10)
    assert not ended


@pytest.mark.cluster
def test_sigterm_to_the_whole_group_ends_a_search_in_a_moment_and_it_goes_on(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path
) -> None:
    file, log = small_search(tmp_path, small_manifest), tmp_path / "log.txt"
    process = start_kmcl("search", file, log=log, store=tmp_path / "store")
    wait_until(lambda: "finished after" in log.read_text(), process=process, log=log)
    # As `timeout`, systemd and batch systems do: Ray's own processes get it too.
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == EXIT_INTERRUPTED, log.read_text()
    said = log.read_text()
    assert "nothing is lost" in said and "GCS" not in said, said
    again = kmcl("search", file, store=tmp_path / "store")
    assert again.exit_code == 0 and ": finished (" in again.output, again.output
