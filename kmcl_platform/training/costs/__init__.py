"""What a model costs to use."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.training.costs.model_costs import (
        known_costs as known_costs,
        measure_costs as measure_costs,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
