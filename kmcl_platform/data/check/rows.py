"""The faults of a manifest's table: columns, splits, targets, class names. Images are opened by `check_images`.

Legend of shapes: N rows, K classes.
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmcl_platform.data.manifest.class_names import FIT_NAME, is_fit_name
from kmcl_platform.data.manifest.import_command import METADATA_KEY, ImportCommand, read_import_command
from kmcl_platform.data.manifest.manifest import SPLITS, targets_to_numpy, whole_numbers
from kmcl_platform.data.manifest.parquet import read_facts, read_parquet, without_index
from kmcl_platform.data.manifest.table_errors import Fault
from kmcl_platform.data.storage.location import Location
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_value


@dataclass
class TableFindings:
    """The readable parts of a table, and its faults. None: the column is missing or cannot be read."""

    num_rows: int
    faults: list[Fault] = field(default_factory=list)
    splits: list[str | None] | None = None
    images: pa.ChunkedArray | None = None
    """Paths or encoded images; a null or an empty one is among the faults."""
    image_column: str = "image"
    class_names: tuple[str, ...] = ()
    targets_NK: np.ndarray | None = None
    """0 where a target is not valid; None: they could not be read at all."""
    import_command: ImportCommand | None = None
    """How the manifest was imported; None: not known."""


def check_table(path: Location) -> TableFindings:
    """Read a manifest's table and collect every fault.

    Raises:
        DataError: the file is missing or not Parquet.
    """
    table = read_parquet(path)
    found = TableFindings(table.num_rows, import_command=read_import_command(table.schema))
    if not table.num_rows:
        found.faults.append(Fault("no rows", "got no rows; valid: one row for each image"))
    names = without_index(table.column_names)
    # Only files of this package have the metadata or the column `targets`. Others have a column for each class.
    ours = METADATA_KEY in (table.schema.metadata or {}) or "targets" in names
    reserved = {"split", "image", "bytes"} | ({"targets"} if ours else set())
    _check_columns(found, names, reserved, ours)
    if "split" in names:
        found.splits = _check_splits(found, table["split"])
    for column in ("image", "bytes"):
        # If a file has both columns, which is a fault, the images of the first one are checked.
        if column in names and found.images is None:
            _check_images(found, column, table[column])
    if ours:
        _read_class_names(found, path, table)
        if "targets" in names:
            _check_target_lists(found, table["targets"])
    else:
        found.class_names = tuple(name for name in names if name not in reserved)
        _check_class_columns(found, table)
    repeated = sorted({name for name in found.class_names if found.class_names.count(name) > 1})
    if repeated or "" in found.class_names:
        found.faults.append(
            Fault("class names", f"got {show_value(repeated or [''])}; valid: distinct names, none empty")
        )
    found.faults += [
        Fault("class names", f"got {show_value(name)}; valid: {FIT_NAME}")
        for name in found.class_names
        if not is_fit_name(name)
    ]
    return found


def _check_columns(found: TableFindings, names: list[str], reserved: set[str], ours: bool) -> None:
    for column in ["split", *(["targets"] if ours else [])]:
        if column not in names:
            found.faults.append(Fault("missing column", "missing; it is required", column=column))
    # Equal if the table has both columns, or neither.
    if ("image" in names) == ("bytes" in names):
        got = "both" if "image" in names else "neither"
        found.faults.append(Fault("missing column", f"'image' or 'bytes': got {got}; valid: one of them"))
    others = [name for name in names if name not in reserved]
    if ours:
        found.faults += [
            Fault("unknown column", f"valid: {', '.join(sorted(reserved))}", column=name) for name in others
        ]
    elif not others:
        found.faults.append(Fault("class names", "got no class; valid: one column for each class"))


def _check_splits(found: TableFindings, column: pa.ChunkedArray) -> list[str | None] | None:
    if not _holds(column.type, (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        found.faults.append(Fault("type of a column", f"got {column.type}; valid: string", column="split"))
        return None
    splits: list[str | None] = column.to_pylist()
    found.faults += [
        Fault("split that is not valid", f"got {show_value(split)}; valid: {', '.join(SPLITS)}", row, "split")
        for row, split in enumerate(splits)
        if split not in SPLITS
    ]
    return splits


def _check_images(found: TableFindings, name: str, column: pa.ChunkedArray) -> None:
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    blobs = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    valid, kinds = ("string", texts) if name == "image" else ("binary", blobs)
    if not _holds(column.type, kinds):
        found.faults.append(Fault("type of a column", f"got {column.type}; valid: {valid}", column=name))
        return
    if pa.types.is_dictionary(column.type):
        # A dictionary (pandas's categories) stores positions of values. What follows needs the values.
        column = column.cast(column.type.value_type)
    found.images, found.image_column = column, name
    empty = pc.fill_null(pc.equal(pc.binary_length(column), 0), True).to_numpy()
    for row in np.flatnonzero(empty):
        found.faults.append(Fault("empty cell", "got nothing; valid: an image", int(row), name))


def _holds(kind: pa.DataType, tests: tuple[object, ...]) -> bool:
    stored = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(test(stored) for test in tests)  # type: ignore[operator]


def _read_class_names(found: TableFindings, path: Location, table: pa.Table) -> None:
    metadata = table.schema.metadata or {}
    if METADATA_KEY not in metadata:
        message = "key 'kmcl' (name, version, class names, hash) is missing; valid: a file made by write_manifest"
        found.faults.append(Fault("metadata", message))
        return
    try:
        found.class_names = read_facts(str(path), metadata[METADATA_KEY])[2]
    except DataError as error:
        # The report names the file once, and the kind of the fault says `metadata` already.
        found.faults.append(Fault("metadata", str(error).removeprefix(f"{path}: metadata: ")))
    else:
        if not found.class_names:
            found.faults.append(Fault("class names", "got none; valid: one or more"))


def _check_target_lists(found: TableFindings, column: pa.ChunkedArray) -> None:
    kind = column.type
    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (is_list and pa.types.is_integer(kind.value_type)):
        found.faults.append(Fault("type of a column", f"got {kind}; valid: lists of int8", column="targets"))
        return
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy()
    # Without names, the most frequent length of the lists is probably the number of classes. The others are faults.
    num_classes = len(found.class_names) or (int(np.bincount(lengths[lengths >= 0]).argmax()) if len(lengths) else 0)
    if not num_classes:
        found.faults.append(Fault("targets that are not valid", "got no values; valid: one for each class"))
        return
    found.class_names = found.class_names or tuple(f"class {k}" for k in range(num_classes))
    whole = lengths == num_classes
    for row in np.flatnonzero(~whole):
        got = "an empty value" if lengths[row] < 0 else f"length {lengths[row]}"
        message = f"got {got}; valid: {num_classes} values, one for each class"
        found.faults.append(Fault("targets that are not valid", message, int(row), "targets"))
    targets_NK = np.zeros((found.num_rows, num_classes), dtype=np.int64)
    # A null becomes a number that is not a valid target, so that the check of values finds it.
    # Only lists of the right length: the flat values are cut into rows of K below.
    kept = pc.list_flatten(column.filter(pa.array(whole)))
    values = pc.fill_null(whole_numbers(kept), _NULL)
    targets_NK[whole] = targets_to_numpy(
        pa.chunked_array([pa.FixedSizeListArray.from_arrays(values.combine_chunks(), num_classes)]), num_classes
    )
    found.targets_NK = _check_values(found, targets_NK)


def _check_class_columns(found: TableFindings, table: pa.Table) -> None:
    targets_NK = np.zeros((found.num_rows, len(found.class_names)), dtype=np.int64)
    for k, name in enumerate(found.class_names):
        column = table[name]
        if not (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
            message = f"got {column.type}; valid: a class, whole numbers -1, 0, 1"
            found.faults.append(Fault("type of a column", message, column=name))
            continue
        targets_NK[:, k] = pc.fill_null(whole_numbers(column), _NULL).to_numpy()
    found.targets_NK = _check_values(found, targets_NK)


_NULL = np.iinfo(np.int64).min


def _check_values(found: TableFindings, targets_NK: np.ndarray) -> np.ndarray:
    """Make a fault of each target that is not -1, 0 or 1; the result has 0 there."""
    wrong = (targets_NK < -1) | (targets_NK > 1)
    for row, k in np.argwhere(wrong):
        value = targets_NK[row, k]
        message = f"got {'an empty value' if value == _NULL else value}; valid: -1, 0, 1"
        found.faults.append(Fault("targets that are not valid", message, int(row), found.class_names[k]))
    return np.where(wrong, 0, targets_NK).astype(np.int8)
