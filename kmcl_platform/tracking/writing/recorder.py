"""Recorder: writes the driver's record of a search; the driver never waits for MLflow or for a figure.

A write is on disk when its method returns (`writing/outbox.py`), and in MLflow soon after (`writing/writer.py`).
Figures are drawn by a process of their own (`tracking/figures`).
"""

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.tracking.figures.direct_figures import DirectFigures
from kmcl_platform.tracking.figures.figure_process import FigureProcess
from kmcl_platform.tracking.figures.score_queue import QueuedScores, ScoreQueue
from kmcl_platform.tracking.runs.names import TrialOutcome
from kmcl_platform.tracking.runs.search_run import SearchRuns
from kmcl_platform.tracking.writing.outbox import Outbox
from kmcl_platform.tracking.writing.writer import FIGURES, Writer, is_figures

PROGRESS_SECONDS = 60.0
"""Time between two writes of the search's progress while no trial ends."""


class Recorder:
    """Writes the record of a search, from one thread, the driver's.

    Attributes:
        runs: MLflow's record itself. Use it only after `flush` has returned.
    """

    def __init__(
        self,
        store: Store,
        file: SearchFile,
        runs: SearchRuns,
        say: Callable[[str], None],
        *,
        draws_here: bool = False,
    ) -> None:
        """Begin with what an earlier driver did not write or draw.

        Args:
            store: where everything is kept.
            file: the search.
            runs: MLflow's record of the search.
            say: shows one line to the user.
            draws_here: draw figures in this process, which then waits for them.

        Raises:
            OSError, sqlite3.Error: the outbox cannot be opened, or the disk is full.
        """
        self.runs = runs
        self._file = file
        self._say = say
        self._scores = ScoreQueue(store, file.name)
        self._scores.remove_drafts()
        self._outbox = Outbox(store, file.name)
        self._remove_drawn_scores()  # Before the writer takes the entries that show what is drawn.
        self._writer = Writer(store, self._outbox, self._scores, runs, say)
        artist = DirectFigures if draws_here else FigureProcess
        self._figures = artist(store, file.name, file.base.data.source, done=self._log_figures, failed=say)
        self._waiting: list[QueuedScores] = []
        """Scores of trials that wait for the baseline trial, whose scores their figures show too."""
        self._last_progress = 0.0
        # An earlier driver left these scores: it died, or their figures could not be drawn.
        for queued in self._scores.waiting():
            self._draw(queued)

    def begin_trial(
        self, number: int, config: TrialConfig, *, baseline: bool, baseline_name: str = "", source: str = ""
    ) -> None:
        """Record that a trial began; arguments as for `TrialRuns.begin`."""
        begun = {"number": number, "config": config.model_dump(), "baseline": baseline, "baseline_name": baseline_name}
        begun |= {"source": source} if source else {}
        self._add("begin", begun)

    def log_epochs(self, number: int, reports: Sequence[EpochReport]) -> None:
        """Record the reports of one or more epochs of a trial."""
        self._add_all("epoch", [{"number": number, "report": report.model_dump()} for report in reports])

    def queue_scores(
        self, number: int, checkpoint: Path | None, outcome: TrialOutcome, *, baseline: bool, pictures: bool = True
    ) -> None:
        """Copy the scores of a trial that ends; its table and pictures are drawn later.

        `baseline`: it is the base, with which the figures of all other trials compare. `pictures`: make its pictures
        too, if it trained to its last epoch.

        Call it before the trial's checkpoint is deleted.

        Raises:
            OSError: the disk is full.
        """
        if outcome not in (TrialOutcome.COMPLETED, TrialOutcome.PRUNED):
            return
        wanted = pictures and outcome == TrialOutcome.COMPLETED
        queued = self._scores.add(number, checkpoint, pictures=wanted, baseline=baseline)
        if queued is not None:
            self._draw(queued)

    def end_trial(
        self,
        number: int,
        outcome: TrialOutcome,
        reason: str = "",
        *,
        objective: float | None,
        costs: Mapping[str, float] | None = None,
    ) -> None:
        """Record that a trial has ended, and why.

        `objective`: its value; None: the study has none. `costs`: of its model, if it ended without an epoch.
        """
        ended = {"number": number, "outcome": str(outcome), "reason": reason, "objective": objective}
        self._add("end", ended | ({"costs": dict(costs)} if costs else {}))

    def progress_is_due(self) -> bool:
        """Whether `PROGRESS_SECONDS` have passed since the search's progress was last written."""
        return time.monotonic() - self._last_progress >= PROGRESS_SECONDS

    def log_progress(self, metrics: Mapping[str, float], *, ended: int) -> None:
        """Record the search's progress: metrics by name, and the number of ended trials."""
        self._last_progress = time.monotonic()
        self._add("progress", {"metrics": dict(metrics), "step": ended})

    def flush(self) -> None:
        """Wait until MLflow has all writes.

        Raises:
            StoreError: MLflow does not answer, or the disk is full. The writes stay on disk for the next start.
        """
        self._writer.flush()

    def finish_drawings(self) -> None:
        """Wait until all figures are drawn. If the baseline trial has no scores, they are drawn without it."""
        waiting, self._waiting = self._waiting, []
        for queued in waiting:
            self._figures.draw(queued, None)
        self._figures.finish()

    def close(self) -> None:
        """End the threads and the process. What is not drawn or written waits on disk for the next start."""
        # The figures' thread adds entries and the writer's thread reads them, so both end before the file is closed.
        self._figures.stop()
        self._writer.close()
        self._outbox.close()

    def _draw(self, queued: QueuedScores) -> None:
        # Without a baseline trial, no figure waits for it.
        if not self._file.baseline:
            self._figures.draw(queued, None)
        elif self._scores.baseline.exists():
            waiting, self._waiting = self._waiting, []
            for one in [*waiting, queued]:
                self._figures.draw(one, self._scores.baseline)
        else:
            # If the search ends before the baseline trial does, `finish_drawings` draws these without it.
            self._waiting.append(queued)

    def _log_figures(self, queued: QueuedScores) -> None:
        try:
            self._outbox.add(FIGURES, {"number": queued.number})
        except sqlite3.Error as error:
            # This is the figures' thread, where no caller would see the error. The next start draws them again.
            self._say(f"figures of trial {queued.number} are not recorded: {error}")
            return
        # The entry was added first: a driver that is killed in between leaves the scores, and its successor sees the
        # entry.
        queued.remove()
        self._writer.notify()

    def _remove_drawn_scores(self) -> None:
        """Delete scores whose figures wait in the outbox: an earlier driver died before it deleted them itself.

        If they were drawn again, the new drawing could replace the figures while the writer reads them.
        """
        drawn = {entry.content["number"] for entry in self._outbox.peek(len(self._outbox)) if is_figures(entry)}
        for queued in self._scores.waiting():
            # If the folder is gone, the writer has already logged it, so a new drawing can replace nothing that it
            # reads.
            if queued.number in drawn and queued.folder.is_dir():
                queued.remove()

    def _add(self, kind: str, content: dict[str, object]) -> None:
        self._add_all(kind, [content])

    def _add_all(self, kind: str, contents: Sequence[dict[str, object]]) -> None:
        # An error of the writer's thread reaches the driver here, with its next write.
        if self._writer.trouble:
            raise self._writer.trouble
        self._outbox.add_all(kind, contents)
        self._writer.notify()
