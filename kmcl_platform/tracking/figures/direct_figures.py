"""DirectFigures: draws figures in this process, which waits for each of them."""

import traceback
from collections.abc import Callable
from pathlib import Path

from kmcl_platform.config.store import Store
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.messages import mask_passwords
from kmcl_platform.tracking.figures.figure_main import draw
from kmcl_platform.tracking.figures.figure_process import LOG, drawing_problem, drawing_request
from kmcl_platform.tracking.figures.score_queue import QueuedScores, ScoreQueue


class DirectFigures:
    """Draws when it is asked to; used as a `FigureProcess` is."""

    def __init__(
        self,
        store: Store,
        search: str,
        source: str,
        *,
        done: Callable[[QueuedScores], None],
        failed: Callable[[str], None],
    ) -> None:
        """Arguments as for `FigureProcess`; `done` and `failed` are called in this thread."""
        self._log = ScoreQueue(store, search).folder / LOG
        self._source, self._data_dir = source, store.data
        self._done, self._failed = done, failed
        self._manifest: Manifest | None = None

    def draw(self, queued: QueuedScores, baseline: Path | None) -> None:
        """Draw a trial's table and, if they are wanted, its pictures."""
        import matplotlib

        try:
            if self._manifest is None:
                self._manifest = open_manifest(self._source, self._data_dir)
            # The pictures go to files: a window system, or a notebook, must not be asked for a window.
            with matplotlib.rc_context({"backend": "agg"}):
                draw(drawing_request(queued, baseline), self._manifest)
        # A figure that fails, for any reason, must not end a search. Its scores stay on disk for the next start.
        except Exception as error:
            with self._log.open("a") as log:
                log.write(mask_passwords(traceback.format_exc()))
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self._failed(drawing_problem(queued, f"{reason}; the log is {self._log}"))
        else:
            self._done(queued)

    def finish(self) -> None:
        """Do nothing: every figure is drawn."""

    def stop(self) -> None:
        """Do nothing: no process runs."""
