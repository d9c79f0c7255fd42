"""MLflow's record of searches.

database    open MLflow's store; requests, retries and errors
runs        what a search and its trials have there; the leaderboard
comparison  which trial is best, in words: against baselines, between arms
figures     a trial's table and pictures, drawn by a process of their own
writing     from the driver to MLflow, without waiting
report      the report page of a search
archive     the learning curves of finished searches, in one file
ui_server   MLflow's own UI on a store
"""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.tracking.archive.archive_file import (
        join_archives as join_archives,
        read_archive as read_archive,
        write_archive as write_archive,
    )
    from kmcl_platform.tracking.archive.collect import (
        archive_searches as archive_searches,
    )
    from kmcl_platform.tracking.comparison.arms import (
        compare_retrained as compare_retrained,
        record_verdict as record_verdict,
    )
    from kmcl_platform.tracking.comparison.leaderboard_text import (
        to_json as to_json,
        to_table as to_table,
    )
    from kmcl_platform.tracking.database.store_errors import (
        find_trouble as find_trouble,
    )
    from kmcl_platform.tracking.report.page import (
        REPORT_FILE as REPORT_FILE,
        write_report as write_report,
    )
    from kmcl_platform.tracking.runs.leaderboard import (
        Leaderboard as Leaderboard,
        LeaderboardRow as LeaderboardRow,
        count_outcomes as count_outcomes,
        read_leaderboard as read_leaderboard,
    )
    from kmcl_platform.tracking.runs.names import (
        BEST_OBJECTIVE as BEST_OBJECTIVE,
        NUMBER_TAG as NUMBER_TAG,
        RUNNING as RUNNING,
        SEARCH_TAG as SEARCH_TAG,
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
        read_latest_file as read_latest_file,
    )
    from kmcl_platform.tracking.ui_server import (
        serve_ui as serve_ui,
    )
    from kmcl_platform.tracking.writing.recorder import (
        Recorder as Recorder,
    )
    from kmcl_platform.tracking.writing.writer import (
        Writer as Writer,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
