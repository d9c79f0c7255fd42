"""FigureProcess: draws at the lowest priority; neither the driver nor the training workers wait for it."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from kmcl_platform.config.store import Store
from kmcl_platform.tracking.figures.score_queue import QueuedScores

LOG = "artist.log"


class FigureProcess:
    """The process, which is started for the first drawing, and the drawings that were asked of it."""

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
            source: its `data.source`: mistakes are shown with their pictures.
            done: told of each drawing, in a thread of its own.
            failed: told why a drawing, or all of them, cannot be made.
        """
        self._log = store.root / "evidence" / search / LOG
        self._common = {"source": source, "data_dir": str(store.data)}
        self._done = done
        self._failed = failed
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._asked: queue.SimpleQueue[QueuedScores] = queue.SimpleQueue()
        self._stopping = False

    def draw(self, kept: QueuedScores, baseline: Path | None) -> None:
        """Ask for a trial's table and, if it is complete, its pictures; returns at once."""
        process = self._start()
        self._asked.put(kept)
        words: dict[str, Any] = self._common | {
            "scores": str(kept.scores),
            "baseline": str(baseline) if baseline else None,
            "complete": kept.complete,
            "title": f"trial {kept.number}",
            "folder": str(kept.folder),
        }
        try:
            _stdin(process).write(json.dumps(words) + "\n")
            _stdin(process).flush()
        except BrokenPipeError:
            return  # the reader says so

    def finish(self) -> None:
        """Wait until all that was asked for is drawn, and end the process."""
        if self._process is None or self._reader is None:
            return
        _stdin(self._process).close()
        self._reader.join()
        self._process.wait()

    def stop(self) -> None:
        """End the process; what it has not drawn stays in the spool."""
        self._stopping = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self) -> "subprocess.Popen[str]":
        if self._process is None:
            command = [sys.executable, "-m", "kmcl_platform.tracking.figures.figure_main"]
            with self._log.open("a") as log:
                # In a session of its own: Ctrl-C is the driver's to answer.
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    start_new_session=True,
                )
            self._reader = threading.Thread(target=self._read, args=(self._process,), name="artist", daemon=True)
            self._reader.start()
        return self._process

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            kept = self._asked.get()
            answer = json.loads(line)
            if "error" in answer:
                self._failed(f"no pictures of trial {kept.number}: {answer['error']}")
            else:
                self._done(kept)
        process.wait()
        if not self._stopping and not self._asked.empty():
            self._failed(f"the process that draws has ended with code {process.returncode}; why, says {self._log}")


def _stdin(process: "subprocess.Popen[str]") -> IO[str]:
    assert process.stdin is not None
    return process.stdin
