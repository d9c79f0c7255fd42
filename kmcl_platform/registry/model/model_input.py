"""The registered model's input: encoded images, paths or arrays, from the one column that has values; or features."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_value
from kmcl_platform.registry.model.schema import (
    ARRAY_COLUMN,
    FEATURES_COLUMN,
    IMAGE_COLUMN,
    INPUT_COLUMNS,
    PATH_COLUMN,
)

PATHS_FROM = "KMCL_PATHS_FROM"
"""Environment variable of a server: the folder whose files it may read when a request has paths."""

_SERVED = "__pyfunc_model_path__"
"""Environment variable that `mlflow models serve` and MLflow's containers set in their processes."""


def read_images(table: pd.DataFrame) -> list[bytes | np.ndarray]:
    """The images of a request: encoded bytes, or pixels_HW3.

    Args:
        table: N rows; exactly one of the columns `image`, `path` and `array` has values.

    Raises:
        DataError: none or several of the columns have values, a row is empty, a file cannot be read, or a server got
            paths that it may not read.
    """
    known = [name for name in INPUT_COLUMNS if name in table.columns]
    # Without rows, the test for empty columns below would find every column empty.
    if known and not len(table):
        return []
    # MLflow adds the schema's other columns without values.
    given = [name for name in known if not table[name].isna().all()]
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        raise DataError(f"columns: got {got}; valid: exactly one of {', '.join(INPUT_COLUMNS)}")
    (column,) = given
    values = list(table[column])
    for row, value in enumerate(values):
        # pandas stores an empty cell as None or NaN. `isna` is no test here: for a cell with an array it returns an
        # array.
        if value is None or (isinstance(value, float) and np.isnan(value)):
            raise DataError(f"row {row}: column {column!r} is empty; valid: an image in every row")
    if column == PATH_COLUMN:
        folder = _readable_folder()
        return [_read(str(value), folder) for value in values]
    if column == ARRAY_COLUMN:
        return [_to_pixels(value, row) for row, value in enumerate(values)]
    return [_to_bytes(value, row) for row, value in enumerate(values)]


def read_features(table: pd.DataFrame) -> list[bytes | np.ndarray]:
    """The features of a request to a model that takes no images: features_D of each row, float32.

    Raises:
        DataError: there is no column `features`, or a row of it is not a list of finite numbers.
    """
    if FEATURES_COLUMN not in table.columns:
        got = show_value([str(name) for name in table.columns])
        raise DataError(
            f"columns: got {got}; valid: {FEATURES_COLUMN!r}, because the model was made from features and takes no "
            "images"
        )
    rows: list[bytes | np.ndarray] = []
    for row, value in enumerate(table[FEATURES_COLUMN]):
        try:
            values_D = np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError):
            values_D = np.empty((0, 0), dtype=np.float32)
        if values_D.ndim != 1 or not np.isfinite(values_D).all():
            raise DataError(
                f"row {row}: column {FEATURES_COLUMN!r}: got {show_value(value)}; valid: a list of finite numbers"
            )
        rows.append(values_D)
    return rows


def input_columns(inputs: Sequence[bytes | np.ndarray]) -> dict[str, list[Any]]:
    """The column of a request: of encoded images, or of features_D.

    Args:
        inputs: all of one kind, at least one.
    """
    if isinstance(inputs[0], bytes):
        return {IMAGE_COLUMN: list(inputs)}
    # Lists, which JSON and Parquet have too.
    return {FEATURES_COLUMN: [np.asarray(values_D).tolist() for values_D in inputs]}


def _readable_folder() -> Path | None:
    """The folder that a server may read. None: this process is not a server, so it may read every path.

    Raises:
        DataError: this process is a server that may not read files.
    """
    if _SERVED not in os.environ:
        return None
    folder = os.environ.get(PATHS_FROM)
    if not folder:
        raise DataError(
            f"column {PATH_COLUMN!r}: a server reads no files; valid: {IMAGE_COLUMN!r} or {ARRAY_COLUMN!r}, or a "
            f"server that was started with {PATHS_FROM}=FOLDER"
        )
    return Path(folder).resolve()


def _read(value: str, folder: Path | None) -> bytes:
    path = Path(value)
    if folder is not None:
        # Links and `..` are resolved first: they could lead out of the folder.
        path = (folder / path).resolve()
        if not path.is_relative_to(folder):
            raise DataError(f"path: got {show_value(value)}, outside the server's folder; valid: a path below it")
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(
            f"path: got {show_value(value)}, which cannot be read ({reason}); valid: an image file"
        ) from None


def _to_bytes(value: object, row: int) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise DataError(
        f"row {row}: column {IMAGE_COLUMN!r}: got {type(value).__name__}; valid: the encoded bytes of an image"
    )


def _to_pixels(value: object, row: int) -> np.ndarray:
    """Pixels from an array, or from nested lists, which JSON and Parquet have."""
    where, valid = f"row {row}: column {ARRAY_COLUMN!r}", "valid: whole numbers 0 to 255, height x width x 3"
    try:
        pixels_HW3 = np.array(_to_lists(value))
    except ValueError:
        raise DataError(f"{where}: got rows of different lengths; {valid}") from None
    if pixels_HW3.ndim != 3 or pixels_HW3.shape[2] != 3 or not pixels_HW3.size:
        raise DataError(f"{where}: got shape {pixels_HW3.shape}; {valid}")
    # Pixels with fractions are often in [0, 1]; as bytes such a picture would be black.
    if pixels_HW3.dtype.kind not in "iu":
        raise DataError(f"{where}: got type {pixels_HW3.dtype}; {valid}")
    if pixels_HW3.min() < 0 or pixels_HW3.max() > 255:
        raise DataError(f"{where}: got values from {pixels_HW3.min()} to {pixels_HW3.max()}; {valid}")
    return pixels_HW3.astype(np.uint8)


def _to_lists(value: object) -> object:
    """Arrays of arrays, which Parquet gives, as lists."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_to_lists(part) for part in value]
    return value
