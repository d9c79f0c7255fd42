"""Which trial of a search is best, in words: its leaderboard, its baselines, its arms, its finalists."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.tracking.comparison.arms import (
        Comparison as Comparison,
        compare_retrained as compare_retrained,
        record_verdict as record_verdict,
    )
    from kmcl_platform.tracking.comparison.baselines import (
        BaselineComparison as BaselineComparison,
        compare_leaderboard as compare_leaderboard,
    )
    from kmcl_platform.tracking.comparison.finalists import (
        promoted_row as promoted_row,
        read_finalists as read_finalists,
        record_finalists as record_finalists,
    )
    from kmcl_platform.tracking.comparison.leaderboard_text import (
        to_json as to_json,
        to_table as to_table,
    )
    from kmcl_platform.tracking.comparison.trial_file import (
        trial_file as trial_file,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
