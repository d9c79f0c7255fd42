"""`kmcl plan`: measures a few trials of the space before the search."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.search.plan.plan import (
        run_plan as run_plan,
    )
    from kmcl_platform.search.plan.plan_table import (
        to_json as to_json,
        to_table as to_table,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
