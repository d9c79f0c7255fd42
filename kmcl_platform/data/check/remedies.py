"""The commands that repair what a check found."""

from pathlib import Path

from kmcl_platform.data.check.check import CheckReport
from kmcl_platform.messages import shell_command

BETWEEN_SPLITS = ("same image in two splits", "same content in two splits")
WITHIN_A_SPLIT = ("same image twice in a split", "same content twice in a split")


def duplicate_remedies(report: CheckReport, file: str) -> list[str]:
    """One line for copies between splits and one for copies within a split, each with a command that can be run.

    Args:
        report: of the manifest.
        file: the manifest, as the user named it.
    """
    lines = []
    if any(fault.kind in BETWEEN_SPLITS for fault in report.faults):
        lines.append(f"next: {_command(report, file, 'group')}")
    if any(fault.kind in WITHIN_A_SPLIT for fault in report.warnings):
        lines.append(f"to keep one row of each picture: {_command(report, file, 'drop')}")
    return lines


def _command(report: CheckReport, file: str, duplicates: str) -> str:
    packed = report.manifest is not None and report.manifest.packing is not None
    if packed or report.path.path is None:
        return f"import the dataset with --duplicates {duplicates}, and pack it again"
    # Drawing the splits again keeps every picture; the manifest alone can only leave copies out.
    if report.import_command is not None and Path(report.import_command.root).exists():
        return shell_command(report.import_command.words(file, duplicates=duplicates))
    out = str(Path(file).with_suffix("")) + "-repaired.parquet"
    return shell_command(["kmcl", "data", "import", "manifest", "--duplicates", duplicates, file, out])
