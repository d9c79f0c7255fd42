"""A user's own features (embeddings): one row for each row of a manifest, in a NumPy or a Parquet file.

Legend of shapes: N rows of the manifest, D features.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path, show_value

FEATURES_COLUMN = "features"
"""The column of a Parquet file: lists of D numbers."""
_VALID = f"*.npy (N x D numbers), or *.parquet with a column {FEATURES_COLUMN!r} of lists of numbers"
_ROWS = 4096
"""Rows that are looked at together for values that are not finite."""


def read_own_features(file: str, manifest: Manifest) -> np.ndarray:
    """Read and check the features of a manifest's rows.

    Args:
        file: `*.npy`, or `*.parquet`. If a Parquet file has a column `image`, it must be that of the manifest.
        manifest: the data.

    Returns:
        features_ND in the order of the manifest's rows; of a NumPy file mapped into memory.

    Raises:
        DataError: the file cannot be read; it has another number of rows or another order than the manifest; or a value
            is not finite.
    """
    path = Path(file).expanduser()
    where = f"data.features: {show_path(path)}"
    try:
        features_ND = _read_parquet(path, where, manifest) if path.suffix == ".parquet" else _read_npy(path, where)
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror or error}); valid: {_VALID}") from None
    if len(features_ND) != manifest.table.num_rows:
        raise DataError(
            f"{where}: got {len(features_ND):,} rows; valid: {manifest.table.num_rows:,}, one for each row of the "
            f"manifest {manifest.name!r}, in its order"
        )
    for start in range(0, len(features_ND), _ROWS):
        finite_N = np.isfinite(features_ND[start : start + _ROWS]).all(axis=1)
        if not finite_N.all():
            row = start + int(np.flatnonzero(~finite_N)[0])
            raise DataError(f"{where}: row {row}: got a value that is not finite; valid: finite numbers")
    return features_ND


def rows_of_split(manifest: Manifest, split: str) -> np.ndarray:
    """The numbers of a split's rows in the whole manifest, in order."""
    return np.flatnonzero(pc.equal(manifest.table["split"], split).to_numpy(zero_copy_only=False))


def _read_npy(path: Path, where: str) -> np.ndarray:
    if path.suffix != ".npy":
        raise DataError(f"{where}: got a name that ends in {path.suffix!r}; valid: {_VALID}")
    try:
        features_ND: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{where}: cannot be read ({' '.join(str(error).split())}); valid: {_VALID}") from None
    return _checked(features_ND, where)


def _read_parquet(path: Path, where: str, manifest: Manifest) -> np.ndarray:
    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
    except pa.ArrowException as error:
        raise DataError(f"{where}: cannot be read ({' '.join(str(error).split())}); valid: {_VALID}") from None
    if FEATURES_COLUMN not in table.column_names:
        names = show_value(table.column_names)
        raise DataError(f"{where}: got columns {names}; valid: a column {FEATURES_COLUMN!r}")
    _check_order(table, where, manifest)
    column = table[FEATURES_COLUMN]
    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or column.null_count or not pa.types.is_floating(kind.value_type):
        raise DataError(f"{where}: column {FEATURES_COLUMN!r}: got {kind}; valid: lists of float32, none empty")
    lengths = pc.list_value_length(column).to_numpy()
    if len(set(lengths.tolist())) > 1:
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
