"""The trials of a search: as a table of pandas, and as the leaderboard of the command line."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from kmcl_platform.config.store import Store
from kmcl_platform.shown import Shown

if TYPE_CHECKING:
    import pandas as pd

    from kmcl_platform.search.study.checkpoint_retention import CheckpointsOnDisk
    from kmcl_platform.tracking.comparison.baselines import BaselineComparison
    from kmcl_platform.tracking.comparison.finalists import FinalistResults
    from kmcl_platform.tracking.runs.leaderboard import Leaderboard


@dataclass(frozen=True)
class SearchTrials(Shown):
    """The trials of a search, and how they compare.

    Attributes:
        board: the trials, the best first.
        finalists: the best trials, trained again on new seeds. None: the search has none.
        comparison: the best trial compared with the best baseline. None: no baseline has completed.
        checkpoints: the trials whose weights are on the disk.
    """

    board: "Leaderboard"
    finalists: "FinalistResults | None"
    comparison: "BaselineComparison | None"
    checkpoints: "CheckpointsOnDisk"

    def parts(self) -> Iterable[RenderableType]:
        """The table of trials, why some failed, the finalists, the comparison with the baselines."""
        from kmcl_platform.tracking.comparison.leaderboard_text import (
            TrialsTable,
            finalists_table,
            front_lines,
            reason_lines,
        )

        yield TrialsTable(self.board)
        yield from reason_lines(self.board)
        if self.finalists:
            yield finalists_table(self.finalists)
            yield from self.finalists.sentences()
        if self.comparison:
            yield str(self.comparison)
        yield from front_lines(self.board)
        yield f"checkpoints: {self.checkpoints.trials} kept, {self.checkpoints.bytes / 1e6:.1f} MB"

    def to_json(self) -> str:
        """The trials as JSON, with exact values."""
        from kmcl_platform.tracking.comparison.leaderboard_text import to_json

        return to_json(self.board)


def read_trials(store: Store, search: str) -> SearchTrials:
    """See `Store.leaderboard`."""
    from kmcl_platform.search.study.checkpoint_retention import measure_checkpoints
    from kmcl_platform.tracking.comparison.baselines import compare_leaderboard
    from kmcl_platform.tracking.comparison.finalists import read_finalists
    from kmcl_platform.tracking.runs.leaderboard import read_leaderboard

    board = read_leaderboard(store, search)
    return SearchTrials(board, read_finalists(board), compare_leaderboard(board), measure_checkpoints(store, search))


def trials_table(store: Store, search: str) -> "pd.DataFrame":
    """See `Store.trials`."""
    import pandas as pd

    from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
    from kmcl_platform.tracking.runs.trial_params import read_value

    board = read_leaderboard(store, search)
    rows: list[dict[str, Any]] = [
        {
            "trial": row.number,
            "rank": row.rank,
            "outcome": row.outcome,
            "reason": row.reason,
            "baseline": row.baseline_name,
            "warm_start": row.source,
            "epochs": row.epochs,
            board.metric: row.objective,
            "seconds": row.wall_seconds,
        }
        | {name: row.aims.get(name) for name in board.aims}
        | {path: read_value(text) for path, text in row.values.items()}
        for row in board.rows
    ]
    columns = ["trial", "rank", "outcome", "reason", "baseline", "warm_start", "epochs"]
    columns += [board.metric, "seconds", *board.aims, *board.paths]
    # Int64 has missing values too: a trial that was stopped early has no rank.
    return pd.DataFrame(rows, columns=columns).astype({"rank": "Int64", board.metric: float})
