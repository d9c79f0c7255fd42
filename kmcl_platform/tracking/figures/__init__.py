"""Figures of a trial, on its run: a table of its classes, curves, co-occurrence, mistakes.

    driver                          disk                                  process of lowest priority
    ──────                          ────                                  ──────────────────────────
    ScoreQueue.add     ──►   figures/SEARCH/trial-0003.completed.safetensors
    FigureProcess.draw ─────────────────────────────────────────────►     draw: table and pictures
                             figures/SEARCH/trial-0003/             ◄──
    TrialRuns.log_figures (from the outbox) moves them into MLflow

The scores stay on disk until the outbox has the entry of their figures, and the figures until MLflow has them. So the
next start of a search finds what a killed one had not drawn or not logged.

This package exports nothing: the process that draws must set its number of threads before anything imports NumPy.
"""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.tracking.figures.figure_process import (
        FigureProcess as FigureProcess,
    )
    from kmcl_platform.tracking.figures.score_queue import (
        QueuedScores as QueuedScores,
        ScoreQueue as ScoreQueue,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
