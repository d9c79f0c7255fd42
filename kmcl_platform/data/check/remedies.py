"""The commands that repair what a check found."""

from pathlib import Path
from typing import NamedTuple

from kmcl_platform.data.check.check import CheckReport
from kmcl_platform.files.file_status import is_same_file, is_there
from kmcl_platform.messages import shell_command

BETWEEN_SPLITS = ("same image in two splits", "same content in two splits")
WITHIN_A_SPLIT = ("same image twice in a split", "same content twice in a split")
NEAR_COPIES = ("near copies in two splits",)


class Remedy(NamedTuple):
    """A command that repairs some kinds of faults or warnings.

    Attributes:
        kinds: those of the report that it repairs.
        purpose: what to write before the command.
        command: text that a shell can run. If no single command can repair it: a sentence that says what to do.
    """

    kinds: tuple[str, ...]
    purpose: str
    command: str


def find_remedies(report: CheckReport, file: str) -> list[Remedy]:
    """The remedies for copies and near copies.

    Args:
        report: of the manifest.
        file: the manifest, as the user named it.
    """
    found = {fault.kind for fault in (*report.faults, *report.warnings)}
    remedies = []
    for kinds, purpose, options in (
        (BETWEEN_SPLITS, "next", ["--duplicates", "group"]),
        (WITHIN_A_SPLIT, "to keep one row of each picture", ["--duplicates", "drop"]),
        (
            NEAR_COPIES,
            "to keep near copies in one split, after a look at them",
            ["--duplicates", "group", "--near-duplicates"],
        ),
    ):
        there = tuple(kind for kind in kinds if kind in found)
        if there:
            remedies.append(Remedy(there, purpose, _command(report, file, options)))
    return remedies


def _command(report: CheckReport, file: str, options: list[str]) -> str:
    # A manifest of shards cannot lose rows without new shards.
    packed = report.manifest is not None and report.manifest.packing is not None
    if packed or report.path.path is None:
        return f"import the dataset with {shell_command(options)}, and pack it again"
    # Drawing the splits again keeps every picture; the manifest alone can only leave copies out.
    root = Path(report.import_command.root) if report.import_command is not None else None
    # An import never writes onto the file that it reads.
    if report.import_command is not None and root is not None and is_there(root) and not is_same_file(root, Path(file)):
        return shell_command(report.import_command.words(file, duplicates=options))
    out = str(Path(file).with_suffix("")) + "-repaired.parquet"
    return shell_command(["kmcl", "data", "import", "manifest", *options, file, out])
