"""Recorder: what the driver of a search tells MLflow, none of which it waits for.

A write is on the disk when its method returns (`writing/outbox.py`) and in MLflow a moment later (`writing/writer.py`);
pictures are drawn by a process of their own (`tracking/figures`).
"""

import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.tracking.figures.figure_process import FigureProcess
from kmcl_platform.tracking.figures.score_queue import QueuedScores, ScoreQueue
from kmcl_platform.tracking.runs.names import TrialOutcome
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.tracking.writing.outbox import Outbox
from kmcl_platform.tracking.writing.writer import Writer

PROGRESS_SECONDS = 60.0
"""Between two writes of the search's progress where no trial ends."""


class Recorder:
    """The writing side of a search's record; from one thread, the driver's.

    Attributes:
        runs: MLflow's record itself, for what is asked of it once `flush` has returned.
    """

    def __init__(self, store: Store, file: SearchFile, runs: SearchRuns, say: Callable[[str], None]) -> None:
        """Go on with what a former driver left unwritten and undrawn.

        Raises:
            OSError, sqlite3.Error: the outbox cannot be opened, or the disk is full.
        """
        self.runs = runs
        self._file = file
        self._say = say
        self._spool = ScoreQueue(store, file.name)
        self._outbox = Outbox(store, file.name)
        self._writer = Writer(store, self._outbox, runs, say)
        self._artist = FigureProcess(store, file.name, file.base.data.source, done=self._take_drawing, failed=say)
        self._undrawn: list[QueuedScores] = []
        """Trials that wait for the baseline, which they are drawn against."""
        self._last_progress = 0.0
        for kept in self._spool.waiting():
            self._draw(kept)

    def begin_trial(self, number: int, config: TrialConfig, *, baseline: bool) -> None:
        """A trial was handed out."""
        self._add("begin", {"number": number, "config": config.model_dump(), "baseline": baseline})

    def log_epoch(self, number: int, report: EpochReport) -> None:
        """An epoch was heard of."""
        self._add("epoch", {"number": number, "report": report.model_dump()})

    def queue_scores(self, number: int, checkpoint: Path | None, outcome: TrialOutcome, *, baseline: bool) -> None:
        """Take the scores of a trial that ends, before its checkpoint goes; its table and pictures are drawn later.

        Raises:
            OSError: the disk is full.
        """
        complete = outcome == TrialOutcome.COMPLETED
        if outcome not in (TrialOutcome.COMPLETED, TrialOutcome.PRUNED):
            return
        kept = self._spool.keep(number, checkpoint, complete=complete, baseline=baseline)
        if kept is not None:
            self._draw(kept)

    def end_trial(self, number: int, outcome: TrialOutcome, reason: str = "", *, objective: float | None) -> None:
        """A trial has ended."""
        self._add("end", {"number": number, "outcome": str(outcome), "reason": reason, "objective": objective})

    def progress_is_due(self) -> bool:
        """Whether the search's progress was last written so long ago that it is time, also if no trial has ended."""
        return time.monotonic() - self._last_progress >= PROGRESS_SECONDS

    def log_progress(self, metrics: Mapping[str, float], *, ended: int) -> None:
        """How far the search has come: metrics by name, and how many trials have ended."""
        self._last_progress = time.monotonic()
        self._add("progress", {"metrics": dict(metrics), "step": ended})

    def flush(self) -> None:
        """Wait until MLflow has all writes.

        Raises:
            StoreError: it does not answer, or the disk is full; what it has not taken waits for the next start.
        """
        self._writer.flush()

    def finish_drawings(self) -> None:
        """Draw what is left, without a baseline where there is none."""
        waiting, self._undrawn = self._undrawn, []
        for kept in waiting:
            self._artist.draw(kept, None)
        self._artist.finish()

    def close(self) -> None:
        """Let go of everything; what is not drawn or written waits for the next start."""
        self._artist.stop()
        self._writer.close()
        self._outbox.close()

    def _draw(self, kept: QueuedScores) -> None:
        if not self._file.baseline:
            self._artist.draw(kept, None)
        elif self._spool.baseline.exists():
            waiting, self._undrawn = self._undrawn, []
            for one in [*waiting, kept]:
                self._artist.draw(one, self._spool.baseline)
        else:
            self._undrawn.append(kept)

    def _take_drawing(self, kept: QueuedScores) -> None:
        try:
            self._outbox.add("evidence", {"number": kept.number, "folder": str(kept.folder)})
        except sqlite3.Error as error:
            # In the artist's thread nobody would hear it. The scores stay, so that the next start draws them again.
            self._say(f"pictures of trial {kept.number} are not kept: {error}")
            return
        kept.drop()
        self._writer.notify()

    def _add(self, kind: str, content: dict[str, object]) -> None:
        if self._writer.trouble:
            raise self._writer.trouble
        self._outbox.add(kind, content)
        self._writer.notify()
