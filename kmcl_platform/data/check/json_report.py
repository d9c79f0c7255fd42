"""What a check found, for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kmcl_platform.data.check.check import CheckReport
from kmcl_platform.data.check.remedies import Remedy
from kmcl_platform.data.manifest.split_counts import summarise
from kmcl_platform.data.manifest.table_errors import group_faults
from kmcl_platform.messages import show_path


def to_json(report: CheckReport, remedies: Sequence[Remedy] = ()) -> str:
    """The report as JSON: every fault and warning with its column and its row (from 0; null: it is not of one row).

    `repairs` has a command for each group of kinds that a command can repair; it is text that a shell can run.
    """
    document: dict[str, Any] = {
        "manifest": show_path(str(report.path)),
        "rows": report.num_rows,
        "fit": not report.faults,
        "counts": {kind: len(group) for kind, group in group_faults(report.faults).items()},
        "faults": [asdict(fault) for fault in report.faults],
        "warnings": [asdict(fault) for fault in report.warnings],
        "repairs": [{"kinds": remedy.kinds, "command": remedy.command} for remedy in remedies],
        "class_names": None if report.manifest is None else report.manifest.class_names,
        "splits": None
        if report.manifest is None
        else {split: asdict(summary) for split, summary in summarise(report.manifest).items()},
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
