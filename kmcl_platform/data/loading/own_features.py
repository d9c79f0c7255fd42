"""A user's own features (embeddings): one row for each row of a manifest, in a NumPy or a Parquet file.

Legend of shapes: N rows of the manifest, D features.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.picture_digest import UnreadableFile, digest_files
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path, show_value

FEATURES_COLUMN = "features"
"""The column of a Parquet file: lists of D numbers."""
_VALID = f"*.npy (N x D numbers), or *.parquet with a column {FEATURES_COLUMN!r} of lists of numbers"
_ROWS = 4096
"""Rows that are looked at together for values that are not finite."""


def read_own_features(file: str, manifest: Manifest, dtype: str = "float32") -> np.ndarray:
    """Read and check the features of a manifest's rows.

    Args:
        file: `*.npy`, or `*.parquet`. If a Parquet file has a column `image`, it must be that of the manifest.
        manifest: the data.
        dtype: the type as which the values must be finite.

    Returns:
        features_ND in the order of the manifest's rows, in the file's type; of a NumPy file mapped into memory.

    Raises:
        DataError: the file cannot be read; it has another number of rows or another order than the manifest; or a value
            is not finite.
    """
    path = _to_path(file)
    where = f"data.features: {show_path(path)}"
    try:
        features_ND = _read_parquet(path, where, manifest) if path.suffix == ".parquet" else _read_npy(path, where)
    except OSError as error:
        raise _unreadable(where, error.strerror or str(error)) from None
    # NumPy and pyarrow report damaged files so; and a path with a NUL character is a ValueError.
    except (ValueError, EOFError, pa.ArrowException) as error:
        raise _unreadable(where, str(error)) from None
    if len(features_ND) != manifest.table.num_rows:
        raise DataError(
            f"{where}: got {len(features_ND):,} rows; valid: {manifest.table.num_rows:,}, one for each row of the "
            f"manifest {manifest.name!r}, in its order"
        )
    for start in range(0, len(features_ND), _ROWS):
        part_ND = features_ND[start : start + _ROWS]
        with np.errstate(over="ignore"):  # A value beyond the range of the type becomes infinite.
            finite_ND = np.isfinite(part_ND.astype(dtype))
        if not finite_ND.all():
            row, place = (int(number) for number in np.argwhere(~finite_ND)[0])
            value = part_ND[row, place]
            valid = f"numbers within the range of {dtype}" if np.isfinite(value) else "finite numbers"
            raise DataError(f"{where}: row {start + row}, feature {place}: got {value:g}; valid: {valid}")
    return features_ND


def digest_own_features(file: str, known: Path | None = None) -> str:
    """The digest of a file's content as it is now: hexadecimal.

    Args:
        file: as for `read_own_features`.
        known: a folder in which digests are kept, so that the file is not read again for each trial. None: it is read.

    Raises:
        DataError: the file cannot be read.
        OSError: the folder cannot be written to.
    """
    path = _to_path(file)
    try:
        return digest_files([path], known).content
    except UnreadableFile as error:
        raise _unreadable(f"data.features: {show_path(path)}", error.reason) from None


def rows_of_split(manifest: Manifest, split: str) -> np.ndarray:
    """The numbers of a split's rows in the whole manifest, in order."""
    return np.flatnonzero(pc.equal(manifest.table["split"], split).to_numpy(zero_copy_only=False))


def _to_path(file: str) -> Path:
    # Absolute, because the current folder of another process is another one.
    return Path(file).expanduser().absolute()


def _unreadable(where: str, reason: str) -> DataError:
    return DataError(f"{where}: cannot be read ({' '.join(reason.split())}); valid: {_VALID}")


def _read_npy(path: Path, where: str) -> np.ndarray:
    if path.suffix != ".npy":
        raise DataError(f"{where}: got a name that ends in {path.suffix!r}; valid: {_VALID}")
    features_ND = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(features_ND, np.ndarray):
        # `np.load` looks at the content and not at the name.
        raise DataError(f"{where}: got several arrays (as in *.npz); valid: {_VALID}")
    return _checked(features_ND, where)


def _read_parquet(path: Path, where: str, manifest: Manifest) -> np.ndarray:
    # An open file, because Arrow accepts a name only if it is UTF-8.
    with path.open("rb") as content:
        file = pq.ParquetFile(content)
        names = file.schema_arrow.names
        if names.count(FEATURES_COLUMN) != 1 or names.count("image") > 1:
            valid = f"one column {FEATURES_COLUMN!r}, and at most one 'image'"
            raise DataError(f"{where}: got columns {show_value(names)}; valid: {valid}")
        # Other columns may be large.
        table = file.read([name for name in (FEATURES_COLUMN, "image") if name in names])
    _check_order(table, where, manifest)
    column = table[FEATURES_COLUMN]
    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or not pa.types.is_floating(kind.value_type):
        raise DataError(f"{where}: column {FEATURES_COLUMN!r}: got {kind}; valid: lists of float32")
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise DataError(f"{where}: row {row}, column {FEATURES_COLUMN!r}: got no value; valid: a list of numbers")
    lengths = pc.list_value_length(column).to_numpy()
    if len(lengths) and (lengths != lengths[0]).any():
        row = int(np.flatnonzero(lengths != lengths[0])[0])
        raise DataError(f"{where}: row {row}: got {lengths[row]} numbers; valid: {lengths[0]}, as in row 0")
    # A missing number becomes NaN, which the caller refuses.
    values = pc.list_flatten(column).to_numpy(zero_copy_only=False)
    return _checked(values.reshape(len(column), -1) if len(column) else values.reshape(0, 1), where)


def _check_order(table: pa.Table, where: str, manifest: Manifest) -> None:
    if "image" not in table.column_names or "image" not in manifest.table.column_names:
        return
    found, wanted = table["image"].to_pylist(), manifest.table["image"].to_pylist()
    # Another number of rows is refused later, with a message of its own.
    for row, (got, valid) in enumerate(zip(found, wanted, strict=False)):
        if got != valid:
            raise DataError(
                f"{where}: row {row}, column 'image': got {show_value(got)}; valid: {show_value(valid)}, as in the "
                f"manifest {manifest.name!r}, whose order the rows must have"
            )


def _checked(features_ND: np.ndarray, where: str) -> np.ndarray:
    if features_ND.ndim != 2 or not features_ND.shape[1]:
        raise DataError(f"{where}: got shape {features_ND.shape}; valid: rows x features, at least one feature")
    if features_ND.dtype.kind != "f":
        raise DataError(f"{where}: got type {features_ND.dtype}; valid: float16, float32 or float64")
    return features_ND
