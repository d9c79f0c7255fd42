"""What a search and its trials have in MLflow: runs, leaderboard, comparison of arms, ownership."""

from kmcl_platform.tracking.runs.arm_comparison import Comparison, compare_retrained, record_verdict
from kmcl_platform.tracking.runs.leaderboard import (
    Leaderboard,
    LeaderboardRow,
    list_own_searches,
    list_searches,
    read_latest_file,
    read_leaderboard,
)
from kmcl_platform.tracking.runs.names import TrialOutcome
from kmcl_platform.tracking.runs.ownership import check_own
from kmcl_platform.tracking.runs.search_run import SearchOutcome, SearchRuns

__all__ = [
    "Comparison",
    "Leaderboard",
    "LeaderboardRow",
    "SearchOutcome",
    "SearchRuns",
    "TrialOutcome",
    "check_own",
    "compare_retrained",
    "list_own_searches",
    "list_searches",
    "read_latest_file",
    "read_leaderboard",
    "record_verdict",
]
