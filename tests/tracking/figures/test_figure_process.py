"""A real process that draws is stopped, killed or stuck. The driver never waits for it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from kmcl_platform.config.store import Store, open_store
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.parquet import write_manifest
from kmcl_platform.data.scores_file import VALIDATION_SCORES, SplitScores, scores_to_bytes
from kmcl_platform.files.atomic_write import DRAFT_PREFIX
from kmcl_platform.tracking.figures import figure_process
from kmcl_platform.tracking.figures.figure_process import FigureProcess
from kmcl_platform.tracking.figures.score_queue import QueuedScores, ScoreQueue

pytestmark = pytest.mark.story

NUM_DRAWINGS = 40
"""Their requests together, with the long paths of `watched`, are larger than a pipe, which holds 64 KiB."""


class Watched:
    """A process that draws, and the results of its drawings."""

    def __init__(self, store: Store, source: Path, scores: Path) -> None:
        self.queue = ScoreQueue(store, "tiny")
        self.done: list[int] = []
        self.failed: list[str] = []
        self.one_done = threading.Event()
        self._checkpoint = scores
        self.figures = FigureProcess(store, "tiny", str(source), done=self._take, failed=self.failed.append)

    def _take(self, queued: QueuedScores) -> None:
        self.done.append(queued.number)
        self.one_done.set()

    def draw(self, number: int) -> None:
        queued = self.queue.add(number, self._checkpoint, pictures=False, baseline=False)
        assert queued is not None
        self.figures.draw(queued, None)

    @property
    def process(self) -> psutil.Process:
        assert self.figures._process is not None
        return psutil.Process(self.figures._process.pid)

    def start(self) -> None:
        """Draw trial 0, after which the process runs and waits."""
        self.draw(0)
        assert self.one_done.wait(120)
        self.one_done.clear()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    write_manifest(build_digits(num_train=4, num_val=6, num_test=4), tmp_path / "few.parquet")
    rng = np.random.default_rng(0)
    scores = SplitScores(rng.random((6, 10), dtype=np.float32), rng.integers(0, 2, (6, 10)))
    (tmp_path / VALIDATION_SCORES).write_bytes(scores_to_bytes(scores))
    folder = tmp_path / ("x" * 250) / ("y" * 250) / ("z" * 250)
    watched = Watched(open_store(folder), tmp_path / "few.parquet", tmp_path)
    yield watched
    watched.figures.stop()


def within(seconds: float, action: Callable[[], object]) -> bool:
    """Whether an action ends within a time. If it does not, it continues in its thread."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_the_driver_does_not_wait_for_a_process_that_is_stopped(watched: Watched) -> None:
    watched.start()
    (queued,) = watched.queue.waiting()
    watched.process.suspend()
    assert within(20, lambda: [watched.figures.draw(queued, None) for _ in range(NUM_DRAWINGS)])
    assert watched.done == [0]
    watched.process.resume()
    watched.figures.finish()
    assert (watched.done, watched.failed) == ([0] * (NUM_DRAWINGS + 1), [])


def test_a_process_that_was_killed_is_started_again_and_nothing_is_left_out(watched: Watched) -> None:
    watched.start()
    first = watched.process
    first.suspend()
    for number in (1, 2):
        watched.draw(number)
    # It has the request for trial 1. A machine without free memory kills processes in this way.
    os.kill(first.pid, signal.SIGKILL)
    watched.figures.finish()
    assert (watched.done, watched.failed) == ([0, 1, 2], [])
    assert all((watched.queue.figures(number) / "classes.json").exists() for number in range(3))


def test_a_process_that_is_stuck_is_killed(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.start()
    watched.process.suspend()
    monkeypatch.setattr(figure_process, "DRAWING_SECONDS", 0.2)
    monkeypatch.setattr(figure_process, "MAX_TRIES", 1)
    watched.draw(1)
    assert within(60, watched.figures.finish)
    (line,) = watched.failed
    assert line.startswith("no figures of trial 1: the process that draws needed more than 0 s for it and was killed")
    assert watched.done == [0]


def test_no_process_is_left_after_a_stop(watched: Watched) -> None:
    watched.start()
    process = watched.process
    process.suspend()
    for number in range(1, 5):
        watched.draw(number)
    started = time.monotonic()
    watched.figures.stop()
    assert time.monotonic() - started < 5
    assert not process.is_running()
    assert (watched.done, watched.failed) == ([0], [])
    assert len(watched.queue.waiting()) == 5


def test_what_is_left_at_the_end_is_drawn_with_normal_priority(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.start()
    first = watched.process
    assert first.nice() == 19
    # As on a machine with other work: the process gets no time at all.
    first.suspend()
    watched.draw(1)
    monkeypatch.setattr(figure_process, "PATIENT_SECONDS", 0.5)
    ended = threading.Thread(target=watched.figures.finish, daemon=True)
    ended.start()
    priorities = set()
    while ended.is_alive():
        process = watched.figures._process
        if process is not None and process.pid != first.pid:
            try:
                priorities.add(psutil.Process(process.pid).nice())
            except psutil.NoSuchProcess:
                break
        time.sleep(0.01)
    ended.join(120)
    assert priorities == {psutil.Process().nice()}
    assert watched.done == [0, 1] and watched.failed == []


def test_a_process_that_is_replaced_leaves_no_draft(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.start()
    watched.process.suspend()
    watched.draw(1)
    draft = watched.queue.folder / f"{DRAFT_PREFIX}trial-0001-1-ab"
    draft.mkdir()
    monkeypatch.setattr(figure_process, "PATIENT_SECONDS", 0.1)
    watched.figures.finish()
    assert watched.done == [0, 1] and not draft.exists()
