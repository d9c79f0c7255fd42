"""FigureProcess: draws figures in a process of the lowest priority, for which no other process waits.

When the search waits for the last ones, nothing trains any more, and a process of normal priority draws them: beside
other work on the machine, one of the lowest priority would get almost no time.
"""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kmcl_platform.config.store import Store
from kmcl_platform.messages import bound_line, mask_passwords
from kmcl_platform.tracking.figures.figure_main import NORMAL_PRIORITY
from kmcl_platform.tracking.figures.score_queue import QueuedScores, ScoreQueue

LOG = "figures.log"
MAX_TRIES = 2
"""Processes that may end during one drawing. After that, the next start of the search tries it again."""
MAX_ENDED = 4
"""Processes that may end one after another without a finished drawing. After that, no other is started."""
PATIENT_SECONDS = 5.0
"""How long the search waits for the process of the lowest priority before another one takes its place."""
DRAWING_SECONDS = 600.0
"""A process that needs longer for one drawing is stuck, and is killed. The pictures of mistakes may come from an object
store, and training workers may leave this process little time of the CPU."""


def drawing_request(queued: QueuedScores, baseline: Path | None) -> dict[str, Any]:
    """What is drawn of a trial, as `figure_main.draw` takes it."""
    return {
        "scores": str(queued.scores),
        "baseline": str(baseline) if baseline else None,
        "pictures": queued.pictures,
        "title": f"trial {queued.number}",
        "folder": str(queued.folder),
    }


def drawing_problem(queued: QueuedScores, reason: str) -> str:
    """One line for the user: why a trial has no figures."""
    return bound_line(mask_passwords(f"no figures of trial {queued.number}: {reason}"))


class FigureProcess:
    """A process that draws, with the queue of its drawings.

    The queue is in this process's memory. A thread sends one drawing at a time to the other process. A pipe cannot be
    the queue: it has room for 64 KiB, and a process that writes more waits until the other one reads.
    """

    def __init__(
        self,
        store: Store,
        search: str,
        source: str,
        *,
        done: Callable[[QueuedScores], None],
        failed: Callable[[str], None],
    ) -> None:
        """
        Args:
            store: where everything is kept.
            search: the search's name.
            source: its `data.source`, for the pictures of mistakes.
            done: called after each drawing, in another thread.
            failed: called in that thread with the reason why a drawing, or all of them, cannot be made.
        """
        self._scores = ScoreQueue(store, search)
        self._log = self._scores.folder / LOG
        self._common = {"source": source, "data_dir": str(store.data)}
        self._done = done
        self._failed = failed
        self._drawings: queue.SimpleQueue[tuple[QueuedScores, Path | None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        """Held while a process is started or killed: no process may start after `stop`."""
        self._stopping = False
        self._hurries = False
        """Whether processes are started with normal priority."""
        self._replaced = threading.Event()
        """Set when a process is killed so that one of normal priority takes its place."""
        self._ended = 0
        """Processes that have ended since the last drawing."""

    def draw(self, queued: QueuedScores, baseline: Path | None) -> None:
        """Queue a trial's table and, if they are wanted, its pictures; never waits."""
        self._drawings.put((queued, baseline))
        # A search that draws nothing starts neither the thread nor the process.
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="figures", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Wait until everything in the queue is drawn, or cannot be drawn, and end the process."""
        if self._thread is not None:
            self._drawings.put(None)
            self._thread.join(PATIENT_SECONDS)
            self._hurry()
            self._thread.join()
            self._thread = None

    def stop(self) -> None:
        """End the process now. Scores that are not drawn stay in the score queue."""
        with self._lock:
            self._stopping = True
            if self._process is not None:
                self._process.kill()
        # Outside the lock, which the thread may need once more before it ends.
        self.finish()

    def _hurry(self) -> None:
        with self._lock:
            if self._hurries or self._stopping or self._thread is None or not self._thread.is_alive():
                return
            self._hurries = True
            if self._process is not None:
                self._replaced.set()
                self._process.kill()

    def _run(self) -> None:
        while (drawing := self._drawings.get()) is not None:
            if not self._stopping and self._ended < MAX_ENDED:
                self._draw(*drawing)
        process = self._process
        if process is not None:
            try:
                process.communicate(timeout=DRAWING_SECONDS)  # Closes its input, at which it ends.
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._process = None

    def _draw(self, queued: QueuedScores, baseline: Path | None) -> None:
        tries = 0
        while tries < MAX_TRIES:
            answer, why = self._ask(queued, baseline)
            if answer is None and self._replaced.is_set():
                # It did not end by itself. No trial ends any more, so all drafts are its own.
                self._replaced.clear()
                self._scores.remove_drafts()
                continue
            tries += 1
            if self._stopping:
                return
            if answer is not None:
                # An answer shows that the process works, even if it says that this drawing failed.
                self._ended = 0
                if "error" in answer:
                    # No second try: the same drawing would fail again. The scores stay on disk for the next start.
                    self._failed(drawing_problem(queued, answer["error"]))
                else:
                    self._done(queued)
                return
            self._ended += 1
        self._failed(drawing_problem(queued, f"{why}; its log is {self._log}"))
        if self._ended >= MAX_ENDED:
            self._failed(
                f"no more figures are drawn: {MAX_ENDED} processes ended in this way; the next start tries again"
            )

    def _ask(self, queued: QueuedScores, baseline: Path | None) -> tuple[dict[str, Any] | None, str]:
        """The process's answer. None: it has ended, for the reason in the second value."""
        request = self._common | drawing_request(queued, baseline)
        try:
            process = self._start()
        except OSError as error:
            return None, f"the process that draws cannot be started: {error}"
        if process is None:
            return None, "stopped"
        assert process.stdin is not None and process.stdout is not None
        stuck = threading.Event()

        def give_up() -> None:
            stuck.set()
            process.kill()

        # `readline` has no time limit. When the process is killed, its pipe closes and `readline` returns.
        timer = threading.Timer(DRAWING_SECONDS, give_up)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        # The process ended before it had read the request.
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        if answer:
            return json.loads(answer), ""
        with self._lock:
            self._process = None
        process.kill()
        code = process.wait()
        if stuck.is_set():
            return None, f"the process that draws needed more than {DRAWING_SECONDS:.0f} s for it and was killed"
        return None, f"the process that draws ended with exit code {code}"

    def _start(self) -> "subprocess.Popen[str] | None":
        """The running process, or a new one. None: `stop` was called."""
        with self._lock:
            if self._stopping:
                return None
            if self._process is None:
                command = [sys.executable, "-m", "kmcl_platform.tracking.figures.figure_main"]
                command += [NORMAL_PRIORITY] if self._hurries else []
                # A file, not a pipe: no thread would read the pipe, and the process would stop when it is full.
                with self._log.open("a") as log:
                    # In a new session, so that Ctrl-C in the terminal reaches the driver only.
                    self._process = subprocess.Popen(
                        command,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        text=True,
                        start_new_session=True,
                    )
            return self._process
