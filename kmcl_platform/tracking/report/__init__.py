"""The report page of a search."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.tracking.report.page import (
        REPORT_FILE as REPORT_FILE,
        write_report as write_report,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
