"""A page about the labels of a manifest."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.report.cooccurrence import (
        count_cooccurrence as count_cooccurrence,
        order_by_similarity as order_by_similarity,
    )
    from kmcl_platform.data.report.page import (
        to_html as to_html,
        write_page as write_page,
    )
    from kmcl_platform.data.report.style import (
        STYLE as STYLE,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
