"""What a search and its trials have in MLflow: runs, leaderboard, ownership."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.tracking.runs.leaderboard import (
        Leaderboard as Leaderboard,
        LeaderboardRow as LeaderboardRow,
        count_outcomes as count_outcomes,
        read_leaderboard as read_leaderboard,
    )
    from kmcl_platform.tracking.runs.names import (
        BEST_OBJECTIVE as BEST_OBJECTIVE,
        CLASS_TABLE_FILE as CLASS_TABLE_FILE,
        NUMBER_TAG as NUMBER_TAG,
        RUNNING as RUNNING,
        SEARCH_TAG as SEARCH_TAG,
        VERDICT_TAG as VERDICT_TAG,
        TrialOutcome as TrialOutcome,
    )
    from kmcl_platform.tracking.runs.ownership import (
        check_own as check_own,
    )
    from kmcl_platform.tracking.runs.search_run import (
        SearchOutcome as SearchOutcome,
        SearchRuns as SearchRuns,
    )
    from kmcl_platform.tracking.runs.searches import (
        list_own_searches as list_own_searches,
        list_searches as list_searches,
        read_latest_file as read_latest_file,
    )
    from kmcl_platform.tracking.runs.ui_tables import (
        to_mlflow_table as to_mlflow_table,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
