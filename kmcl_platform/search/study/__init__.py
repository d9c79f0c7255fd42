"""The Optuna study, in which the points of a search and their values are stored."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.search.study.checkpoint_check import (
        check_checkpoints as check_checkpoints,
        trial_folders as trial_folders,
    )
    from kmcl_platform.search.study.checkpoint_retention import (
        checkpoint_metrics as checkpoint_metrics,
        drop_checkpoints as drop_checkpoints,
        measure_checkpoints as measure_checkpoints,
    )
    from kmcl_platform.search.study.compared_trials import (
        plan_retraining as plan_retraining,
    )
    from kmcl_platform.search.study.definition import (
        check_new_search as check_new_search,
    )
    from kmcl_platform.search.study.ended_trials import (
        TrialEnd as TrialEnd,
    )
    from kmcl_platform.search.study.lock import (
        SearchLock as SearchLock,
    )
    from kmcl_platform.search.study.point import (
        Point as Point,
    )
    from kmcl_platform.search.study.reconcile import (
        close_record as close_record,
        finish_record as finish_record,
    )
    from kmcl_platform.search.study.storage import (
        load_study as load_study,
    )
    from kmcl_platform.search.study.study import (
        DurableStudy as DurableStudy,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
