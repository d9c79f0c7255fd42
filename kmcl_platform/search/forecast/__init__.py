"""The forecast of a search, and its score."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.search.forecast.costs import (
        Range as Range,
        to_costs as to_costs,
    )
    from kmcl_platform.search.forecast.forecast import (
        Forecast as Forecast,
        build_forecast as build_forecast,
    )
    from kmcl_platform.search.forecast.score import (
        is_score_due as is_score_due,
        score_forecast as score_forecast,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
