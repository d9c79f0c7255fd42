"""A manifest's Parquet file: written by this package with facts and a hash, or a plain table of classes as columns."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kmcl_platform.data.manifest.import_command import METADATA_KEY, ImportCommand, import_facts
from kmcl_platform.data.manifest.manifest import (
    Manifest,
    check_no_nulls,
    checked_manifest,
    targets_to_numpy,
    whole_numbers,
)
from kmcl_platform.data.storage.location import Location, parse_location
from kmcl_platform.data.storage.object_store import one_line, read_file
from kmcl_platform.data.storage.shard_index import read_packing, to_facts
from kmcl_platform.errors import DataError
from kmcl_platform.files.atomic_write import atomic_file
from kmcl_platform.files.file_status import is_file
from kmcl_platform.messages import show_path, show_value

SHARDS_KEY = "shards"


def write_manifest(manifest: Manifest, path: Path, *, command: ImportCommand | None = None) -> None:
    """Write a manifest as Parquet. A reader sees the old file or the new one, never a part of it.

    Args:
        command: how it was imported; None: it was made by other means.

    Raises:
        DataError: relative image paths would name other files in the new folder, or the file cannot be written.
    """
    path = path.absolute()
    if (
        manifest.packing is None
        and manifest.root is not None
        and "image" in manifest.table.column_names
        and manifest.root.absolute() != path.parent
    ):
        relative = [image for image in manifest.table["image"].to_pylist() if not Path(image).is_absolute()]
        if relative:
            raise DataError(
                f"{show_path(path)}: image paths are relative to {show_path(manifest.root)} "
                f"(first: {show_value(relative[0])}); valid: a file in that folder, or absolute paths"
            )
    if manifest.packing is not None and manifest.packing.folder.path != path.parent:
        raise DataError(f"{show_path(path)}: the shards are in {manifest.packing.folder}; valid: a file in that folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as draft, draft.open("wb") as file:
            # An open file is passed: Arrow accepts a name only if it is UTF-8.
            pq.write_table(to_stored_table(manifest, command), file)
    except OSError as error:
        raise DataError(
            f"{show_path(path)}: cannot be written: {one_line(error)}; valid: a path in a writable folder"
        ) from None


def to_stored_table(manifest: Manifest, command: ImportCommand | None = None) -> pa.Table:
    """The table as a manifest's file has it: name, version, class names, hash, shards and command in its metadata."""
    facts: dict[str, Any] = {
        "name": manifest.name,
        "version": manifest.version,
        "class_names": list(manifest.class_names),
        "content_hash": manifest.content_hash,
    }
    if manifest.packing is not None:
        facts[SHARDS_KEY] = to_facts(manifest.packing)
    if command is not None:
        # Not part of the content hash: two imports of the same data are the same dataset.
        facts |= import_facts(command)
    return manifest.table.replace_schema_metadata({METADATA_KEY: json.dumps(facts).encode()})


def read_manifest(path: Path | str) -> Manifest:
    """Read and check a manifest, by path or URI.

    A Parquet file without our metadata is accepted if its columns are `image` or `bytes`, `split`, and one whole-number
    (or boolean) column for each class; its name is then the file's stem.

    Raises:
        DataError: the file is missing or not Parquet, a column, length or value is not valid, or the content is not
            what the stored hash says.
    """
    location = parse_location(path)
    table = read_parquet(location)
    metadata = table.schema.metadata or {}
    where = str(location)
    root = location.parent.path
    # A table that another program wrote has no facts. A column for each class is enough for it.
    if METADATA_KEY not in metadata:
        return _elsewhere_checked(where, location, _from_class_columns(location, table))
    name, version, class_names, stored_hash = read_facts(where, metadata[METADATA_KEY])
    _check_columns(where, table, last="targets")
    targets = _read_target_lists(where, table["targets"], len(class_names))
    shards = json.loads(metadata[METADATA_KEY]).get(SHARDS_KEY)
    packing = None
    if shards is not None and "image" in table.column_names:
        packing = read_packing(where, shards, location.parent, table["image"])
    manifest = checked_manifest(where, name, version, class_names, table, targets, root, packing)
    if manifest.content_hash != stored_hash:
        raise DataError(
            f"{where}: content hash: got {manifest.content_hash[:12]}…; valid: {stored_hash[:12]}…, "
            "as written: the file was changed"
        )
    return _elsewhere_checked(where, location, manifest)


def _elsewhere_checked(where: str, location: Location, manifest: Manifest) -> Manifest:
    """Refuse relative paths of a manifest whose folder is not on this machine."""
    if location.path is None and manifest.packing is None and "image" in manifest.table.column_names:
        relative = [image for image in manifest.table["image"].to_pylist() if not Path(image).is_absolute()]
        if relative:
            raise DataError(
                f"{where}: image paths are relative to it (first: {show_value(relative[0])}); valid: a manifest packed "
                "there (kmcl data pack), or absolute paths"
            )
    return manifest


def read_parquet(location: Location) -> pa.Table:
    """The table of a manifest's file, unchecked.

    Raises:
        DataError: the file is missing or not Parquet.
    """
    valid = "the path of a manifest (*.parquet)"
    if location.path and not is_file(location.path):
        raise DataError(f"{location}: no such file; valid: {valid}")
    try:
        # An open file is passed: Arrow accepts a name only if it is UTF-8.
        source = location.path.open("rb") if location.path else pa.BufferReader(read_file(location, valid))
        # pq.read_table would read a folder named `split=train` as a column.
        with source, pq.ParquetFile(source) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{location}: cannot be read as Parquet: {one_line(error)}") from None


def _from_class_columns(path: Location, table: pa.Table) -> Manifest:
    if "targets" in table.column_names:
        raise DataError(
            f"{path}: metadata: key 'kmcl' (name, version, class names, hash) is missing; "
            "valid: a file made by write_manifest, or one column for each class instead of 'targets'"
        )
    columns = without_index(table.column_names)
    class_names = tuple(column for column in columns if column not in ("split", "image", "bytes"))
    _check_columns(str(path), table.select([c for c in columns if c not in class_names]), last=None)
    # int64 holds every value of the columns, so that a wrong one is named as it is.
    targets_NK = np.zeros((table.num_rows, len(class_names)), dtype=np.int64)
    for k, column in enumerate(class_names):
        kind = table[column].type
        if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            raise DataError(f"{path}: column {column!r}: got type {kind}; valid: a class, whole numbers -1, 0, 1")
        check_no_nulls(str(path), column, table[column], "-1, 0, 1")
        targets_NK[:, k] = whole_numbers(table[column]).to_numpy()
    stem = path.name.removesuffix(".parquet")
    return checked_manifest(str(path), stem, "", class_names, table, targets_NK, path.parent.path)


def without_index(columns: list[str]) -> list[str]:
    """The columns without those in which pandas stores an index that is not 0, 1, 2, …"""
    return [column for column in columns if not re.fullmatch(r"__index_level_\d+__", column)]


def read_facts(where: str, encoded: bytes) -> tuple[str, str, tuple[str, ...], str]:
    """Name, version, class names and content hash from a manifest's metadata.

    Raises:
        DataError: one of them is missing.
    """
    try:
        facts = json.loads(encoded)
        texts = [facts["name"], facts["version"], facts["content_hash"], *facts["class_names"]]
    except (ValueError, KeyError, TypeError):
        texts = [None]
    if not all(isinstance(text, str) for text in texts):
        raise DataError(
            f"{where}: metadata: key 'kmcl': got {show_value(encoded, 60)}; "
            "valid: JSON with name, version, class_names, content_hash"
        )
    return texts[0], texts[1], tuple(texts[3:]), texts[2]


def _check_columns(where: str, table: pa.Table, *, last: str | None) -> None:
    columns = sorted(table.column_names)
    rest = ["split"] if last is None else ["split", last]
    if columns not in (sorted(["image", *rest]), sorted(["bytes", *rest])):
        valid = f"'split', either 'image' or 'bytes', and {'one column for each class' if last is None else repr(last)}"
        raise DataError(f"{where}: columns: got {', '.join(map(show_value, columns)) or 'none'}; valid: {valid}")


def _read_target_lists(where: str, column: pa.ChunkedArray, num_classes: int) -> np.ndarray:
    kind = column.type
    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (is_list and pa.types.is_integer(kind.value_type)):
        raise DataError(f"{where}: column 'targets': got type {kind}; valid: lists of {num_classes} int8")
    check_no_nulls(where, "targets", column, f"lists of {num_classes} int8")
    lengths = pc.list_value_length(column).to_numpy()
    wrong = np.flatnonzero(lengths != num_classes)
    if wrong.size:
        raise DataError(
            f"{where}: row {wrong[0]}, column 'targets': got length {lengths[wrong[0]]}; "
            f"valid: {num_classes}, one for each class"
        )
    # A null within a list is not a null of the column, so the check above does not see it.
    if pc.list_flatten(column).null_count:
        raise DataError(f"{where}: column 'targets': got an empty value; valid: -1, 0, 1")
    return targets_to_numpy(column, num_classes)
