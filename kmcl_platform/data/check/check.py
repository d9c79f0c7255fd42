"""The check of a manifest: it finds every fault in one pass, and what would make the scores of a search wrong."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kmcl_platform.data.check.images import check_images
from kmcl_platform.data.check.rows import TableFindings, check_table
from kmcl_platform.data.manifest.class_names import find_similar_names
from kmcl_platform.data.manifest.import_command import ImportCommand
from kmcl_platform.data.manifest.manifest import SPLITS, Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.data.manifest.table_errors import Fault
from kmcl_platform.data.progress import Progress
from kmcl_platform.data.storage.location import Location, parse_location
from kmcl_platform.data.storage.shard_reader import ShardReader
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_value


@dataclass(frozen=True)
class CheckReport:
    """What a check found."""

    path: Location
    num_rows: int
    faults: tuple[Fault, ...]
    """A search would refuse the manifest, stop at an image, or report scores that are wrong."""
    warnings: tuple[Fault, ...]
    """A search runs and its scores are right, but the user should know."""
    manifest: Manifest | None
    """None: its faults prevent reading it."""
    import_command: ImportCommand | None = None
    """How it was imported; None: not known."""


def check_manifest(path: Path | str, progress: Progress) -> CheckReport:
    """Check a manifest's table, and read and decode each of its images.

    Args:
        path: the manifest's file, or its URI.
        progress: is called with the number of images that were checked.

    Raises:
        DataError: the file is missing or not Parquet.
    """
    location = parse_location(path)
    found = check_table(location)
    faults, warnings = list(found.faults), find_similar_names(found.class_names)
    manifest: Manifest | None = None
    try:
        manifest = read_manifest(path)
    except DataError as error:
        # The check of the table finds every other fault. Only reading compares the content hash.
        if not faults:
            faults.append(Fault("content", str(error).removeprefix(f"{location}: ")))
    _check_splits(found, faults, warnings)
    if found.images is not None:
        root, shards = location.parent.path or Path(), None
        if manifest is not None and manifest.packing is not None:
            shards = ShardReader(manifest.packing)
            faults += _check_shards(shards, progress)
        images = check_images(found.images, found.splits, found.image_column, root, progress, shards)
        faults += images.faults
        warnings += images.warnings + _check_labels(found, images.same)
    return CheckReport(location, found.num_rows, tuple(faults), tuple(warnings), manifest, found.import_command)


def _check_labels(found: TableFindings, same: list[tuple[int, int]]) -> list[Fault]:
    """Find rows of the same content whose labels differ: at most one of them can be right."""
    if found.targets_NK is None:
        return []
    warnings = []
    for earlier, row in same:
        differing = np.flatnonzero(found.targets_NK[row] != found.targets_NK[earlier])
        if len(differing):
            shown = ", ".join(show_value(found.class_names[k], 40) for k in differing[:5])
            message = f"got other labels than row {earlier}, which has the same content: {shown}"
            warnings.append(Fault("same content with different labels", message, row))
    return warnings


def _check_shards(shards: ShardReader, progress: Progress) -> list[Fault]:
    """Compare every shard with its hash."""
    faults = []
    for done, shard in enumerate(shards.packing.shards.values()):
        try:
            shards.check(shard)
        except DataError as error:
            faults.append(Fault("shard", str(error)))
        progress("shards", done + 1, len(shards.packing.shards))
    return faults


def _check_splits(found: TableFindings, faults: list[Fault], warnings: list[Fault]) -> None:
    """Check that each split can be used for its purpose."""
    if found.splits is None or found.targets_NK is None:
        return
    # A missing split is a fault of the table already. Here it is in none of the splits.
    splits_N = np.array([split or "" for split in found.splits])
    for split in SPLITS:
        targets_NK = found.targets_NK[splits_N == split]
        # Only a promotion opens `test`.
        into = warnings if split == "test" else faults
        if not len(targets_NK):
            into.append(Fault("empty split", f"split {split!r}: got no images; valid: one or more"))
            continue
        positives_K = (targets_NK == 1).sum(axis=0)
        if not positives_K.any():
            into.append(Fault("split without a label", f"split {split!r}: got no positive label; valid: one or more"))
            continue
        for k in np.flatnonzero(positives_K == 0):
            warnings.append(
                Fault("class without a label", f"no positive label in split {split!r}", column=found.class_names[k])
            )
