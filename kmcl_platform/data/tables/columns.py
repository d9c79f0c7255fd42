"""From columns of labels to targets. Every cell that is not valid becomes a fault.

Legend of shapes: N rows, K classes.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from kmcl_platform.data.manifest.table_errors import Fault
from kmcl_platform.data.tables.label_cells import LabelError, find_other_separator, find_target_vectors, read_labels
from kmcl_platform.data.tables.text_table import LIST_CELL
from kmcl_platform.messages import show_value

_MANY = 20
"""Of this many rows or more, a column without any valid cell is one fault, not one for each row."""


def class_columns_to_targets(
    frame: pd.DataFrame, columns: Sequence[str], *, unknown: bool, faults: list[Fault]
) -> np.ndarray:
    """Targets of a table with one column for each class.

    Args:
        frame: N rows of text.
        columns: K columns; a cell is a number or a word for one: `1`, `1.0`, `True`, `0`, `-1` and so on.
        unknown: whether -1 is valid.
        faults: takes a fault for each cell that is not valid; its target is then 0.

    Returns:
        targets_NK, int8.
    """
    targets_NK = np.zeros((len(frame), len(columns)), dtype=np.int8)
    valid = "1, 0 or -1" if unknown else "1 or 0"
    for k, column in enumerate(columns):
        # A column has few different cells, so each is parsed once and not once for each row.
        targets = {cell: _to_target(cell, unknown) for cell in frame[column].unique()}
        values = frame[column].map(targets)
        wrong = np.flatnonzero(values.isna().to_numpy())
        # A small table gets its faults cell by cell: there they are more help than one about the column.
        if len(wrong) == len(frame) and (len(frame) >= _MANY or LIST_CELL in targets):
            # The column is probably of another kind. The message names the option for it.
            got = "lists" if LIST_CELL in targets else f"no valid cell (first: {show_value(frame[column].iloc[0])})"
            remedy = f"--labels-column {column}" if LIST_CELL in targets else "--classes with the names of the classes"
            faults.append(Fault("column that is not a class", f"got {got}; valid: {valid}, or {remedy}", column=column))
            continue
        for row in wrong:
            got = show_value(frame[column].iloc[row])
            faults.append(Fault("label that is not valid", f"got {got}; valid: {valid}", int(row), column))
        targets_NK[:, k] = values.fillna(0).to_numpy(dtype=np.int8)
    return targets_NK


def _to_target(cell: str, unknown: bool) -> int | None:
    text = cell.strip().lower()
    if text in ("true", "false"):
        return int(text == "true")
    try:
        # Excel writes 1,0 for 1.0 in many countries.
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return int(value) if value in (1, 0) or (unknown and value == -1) else None


def joined_labels_to_targets(
    cells: Sequence[object],
    column: str,
    classes: Sequence[str] | None,
    *,
    separator: str | None = "|",
    no_label: str | None,
    faults: list[Fault],
) -> tuple[tuple[str, ...], np.ndarray]:
    """Classes and targets of a column whose cells have joined labels or lists of labels.

    Args:
        cells: N cells; an empty one has no label.
        column: its name, for faults.
        classes: K names; None: every label that occurs, sorted.
        separator: between joined labels; None: `|`; cells that seem to have another one are a fault.
        no_label: the word of a cell without labels; an empty cell is valid too.
        faults: takes a fault for each cell that cannot be read, each label that is not a class or is
            repeated, and `no_label` together with a label.

    Returns:
        The K names, and targets_NK, int8, 1 and 0.
    """
    labels_N: list[list[str]] = []
    for row, cell in enumerate(cells):
        try:
            labels_N.append(read_labels(cell, separator or "|", no_label=no_label, classes=classes or ()))
        except LabelError as error:
            faults.append(Fault("labels that cannot be read", str(error), row, column))
            labels_N.append([])
    faults += _column_faults(cells, labels_N, column, separator, guess=classes is None)
    names = tuple(classes or sorted({label for labels in labels_N for label in labels} - {no_label}))
    positions = {name: k for k, name in enumerate(names)}
    targets_NK = np.zeros((len(cells), len(names)), dtype=np.int8)
    for row, labels in enumerate(labels_N):
        # The word for "no label" alone is a valid cell without labels; together with a label it is a fault.
        if labels != [no_label]:
            faults += _set_targets(targets_NK[row], labels, cells[row], positions, no_label, row, column)
    return names, targets_NK


def _set_targets(
    targets_K: np.ndarray,
    labels: list[str],
    cell: object,
    positions: Mapping[str, int],
    no_label: str | None,
    row: int,
    column: str,
) -> Iterable[Fault]:
    for label in labels:
        if label == no_label:
            message = f"got {show_value(cell)}: {no_label!r} together with a label; valid: one or the other"
            yield Fault("label that is not valid", message, row, column)
        elif label not in positions:
            yield Fault("unknown label", f"got {show_value(label)}; valid: {_few(positions)}", row, column)
        elif targets_K[positions[label]]:
            yield Fault(
                "label that is not valid", f"got {show_value(label)} twice; valid: each label once", row, column
            )
        else:
            targets_K[positions[label]] = 1


def _column_faults(
    cells: Sequence[object], labels_N: list[list[str]], column: str, separator: str | None, *, guess: bool
) -> list[Fault]:
    """Faults of the whole column: vectors of targets, or another separator than the assumed one."""
    if find_target_vectors(labels_N, [not isinstance(cell, str) or cell.strip().startswith("[") for cell in cells]):
        message = f"got vectors of 0, 1 and -1 such as {show_value(cells[0])}; valid: names, or a column for each class"
        return [Fault("labels that cannot be read", message, column=column)]
    # Neither the user nor the names of the classes say how the labels are joined, so the cells must.
    if separator is None and guess:
        joined = [cell for cell in cells if isinstance(cell, str) and not cell.strip().startswith(("[", "(", "{"))]
        other = find_other_separator(joined, "|")
        if other:
            example = next(cell for cell in joined if len(cell.strip().split(other)) > 1)
            message = (
                f"got {show_value(example)} and no '|' in any row; valid: --separator {other!r} if these are several "
                "labels, --separator '|' if they are one"
            )
            return [Fault("labels that cannot be read", message, column=column)]
    return []


def _few(classes: Iterable[str]) -> str:
    names = list(classes)
    shown = ", ".join(show_value(name, 60).strip("'\"") for name in names[:20])
    return shown if len(names) <= 20 else f"{shown}, … ({len(names)} classes)"
