"""Optuna's samplers and pruners, and the points of a space."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.search.sampling.asking import (
        BASELINE as BASELINE,
        VALUES as VALUES,
        baseline_name as baseline_name,
        counted_trials as counted_trials,
        draw_values as draw_values,
        enqueue_points as enqueue_points,
        finish_asking as finish_asking,
        is_searched as is_searched,
        next_sampler as next_sampler,
        open_trial as open_trial,
        read_trial as read_trial,
    )
    from kmcl_platform.search.sampling.search_study import (
        SearchStudy as SearchStudy,
    )
    from kmcl_platform.search.sampling.space import (
        suggest_values as suggest_values,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
