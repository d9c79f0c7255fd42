"""Tables as text, and their columns of labels as targets; every cell that is not valid becomes a fault."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kmcl_platform.data.manifest.parquet import without_index
from kmcl_platform.data.manifest.table_errors import Fault
from kmcl_platform.data.storage.object_store import one_line
from kmcl_platform.errors import DataError

# As CSV, pandas and spreadsheets write them.
_TARGETS = {"1": 1, "0": 0, "-1": -1, "1.0": 1, "0.0": 0, "-1.0": -1, "True": 1, "False": 0, "TRUE": 1, "FALSE": 0}


def read_text_table(path: Path, needed: Iterable[str] = ()) -> pd.DataFrame:
    """A CSV or Parquet file with every cell as text; a cell that has no value is "".

    Args:
        needed: columns that must be there; others are kept too.

    Raises:
        DataError: the file is missing or cannot be read, a column is missing, or a column's name comes twice.
    """
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                frame = _to_text(file.read())
        else:
            frame = _read_csv(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
        raise DataError(f"{path}: cannot be read: {reason}; valid: a CSV or Parquet table") from None
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise DataError(
            f"{path}: columns: {', '.join(map(repr, missing))} missing; got {', '.join(map(repr, frame.columns))}"
        )
    if not len(frame):
        raise DataError(f"{path}: got no rows; valid: one row for each image")
    return frame


def _read_csv(path: Path) -> pd.DataFrame:
    # Without a header of its own: pandas would call a second column `cat` `cat.1`, a class of its own.
    rows = pd.read_csv(
        path, header=None, dtype=str, keep_default_na=False, na_filter=False, index_col=False, encoding="utf-8-sig"
    )
    names = [name.strip() for name in rows.iloc[0]]
    _check_names([name for name in names if name])
    frame = rows.iloc[1:].reset_index(drop=True).set_axis(names, axis="columns")
    # A column without a name is pandas's index, or what a comma at the end of each line makes: no class.
    return frame.loc[:, [bool(name) for name in names]]


def _to_text(table: pa.Table) -> pd.DataFrame:
    names = without_index(table.column_names)
    _check_names(names)
    columns = {name: ["" if value is None else str(value) for value in table[name].to_pylist()] for name in names}
    return pd.DataFrame(columns, dtype=object)


def _check_names(names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"columns {', '.join(map(repr, repeated))} come twice")


def class_columns_to_targets(
    frame: pd.DataFrame, columns: Sequence[str], *, unknown: bool, faults: list[Fault]
) -> np.ndarray:
    """Targets of a table with one column for each class.

    Args:
        unknown: whether -1 is valid.
        faults: takes a fault for each cell that is not valid; its target is then 0.

    Returns:
        targets_NK, int8.
    """
    targets_NK = np.zeros((len(frame), len(columns)), dtype=np.int8)
    valid = "1, 0 or -1" if unknown else "1 or 0"
    for k, column in enumerate(columns):
        values = frame[column].str.strip().map(_TARGETS)
        wrong = values.isna() | ((values == -1) & (not unknown))
        for row in np.flatnonzero(wrong.to_numpy()):
            got = frame[column].iloc[row]
            faults.append(Fault("label that is not valid", f"got {got!r}; valid: {valid}", int(row), column))
        targets_NK[:, k] = values.where(~wrong, 0).to_numpy(dtype=np.int8)
    return targets_NK


def joined_labels_to_targets(
    cells: Sequence[str],
    column: str,
    classes: Mapping[str, int],
    *,
    separator: str,
    no_label: str | None,
    faults: list[Fault],
) -> np.ndarray:
    """Targets of a column of joined labels.

    Args:
        cells: N cells; an empty one has no label.
        column: its name, for faults.
        classes: K names and their positions.
        no_label: what a cell without labels says, beside nothing at all.
        faults: takes a fault for each label that is no class, each that comes twice, and `no_label` beside a label.

    Returns:
        targets_NK, int8, 1 and 0.
    """
    targets_NK = np.zeros((len(cells), len(classes)), dtype=np.int8)
    for row, cell in enumerate(cells):
        labels = split_labels(cell, separator)
        if labels == [no_label]:
            continue
        for label in labels:
            if label == no_label:
                message = f"got {cell!r}: {no_label!r} beside a label; valid: one or the other"
                faults.append(Fault("label that is not valid", message, row, column))
            elif label not in classes:
                message = f"got {label!r}; valid: {_few(classes)}"
                faults.append(Fault("unknown label", message, row, column))
            elif targets_NK[row, classes[label]]:
                message = f"got {label!r} twice; valid: each label once"
                faults.append(Fault("label that is not valid", message, row, column))
            else:
                targets_NK[row, classes[label]] = 1
    return targets_NK


def split_labels(cell: str, separator: str) -> list[str]:
    """The labels of a cell, without the space around them."""
    return [label for label in (part.strip() for part in cell.split(separator)) if label]


def _few(classes: Iterable[str]) -> str:
    names = list(classes)
    return ", ".join(names) if len(names) <= 20 else f"{', '.join(names[:20])}, … ({len(names)} classes)"
