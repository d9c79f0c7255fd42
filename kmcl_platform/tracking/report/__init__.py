"""The report page of a search."""

from kmcl_platform.tracking.report.page import REPORT_FILE, write_report

__all__ = ["REPORT_FILE", "write_report"]
