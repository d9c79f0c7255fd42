"""The forecast of a search, and its score."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.search.forecast.forecast import (
        Forecast as Forecast,
        Range as Range,
        build_forecast as build_forecast,
        to_costs as to_costs,
    )
    from kmcl_platform.search.forecast.score import (
        is_score_due as is_score_due,
        score_forecast as score_forecast,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
