"""The values that a search may try: their ranges, the check of each range's ends, and where good ones are expected."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.config.space.distributions import (
        Choice as Choice,
        Distribution as Distribution,
        Int as Int,
        LogUniform as LogUniform,
        Uniform as Uniform,
    )
    from kmcl_platform.config.space.prior import (
        Belief as Belief,
        Prior as Prior,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
