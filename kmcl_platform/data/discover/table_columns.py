"""Which columns of a user's table are the pictures, the labels, the splits and the groups."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kmcl_platform.data.readers.table import SPLIT_COLUMN
from kmcl_platform.data.tables.text_table import read_text_table
from kmcl_platform.errors import DataError
from kmcl_platform.files.file_status import is_file
from kmcl_platform.messages import show_path, show_value

IMAGE_NAMES = ("image", "images", "file", "file_name", "filename", "path", "image_path", "img", "picture", "photo")
LABEL_NAMES = ("tags", "labels", "label", "classes", "class", "categories", "category", "keywords", "finding labels")
GROUP_NAMES = ("patient", "patient_id", "patient id", "patientid", "subject", "subject_id", "case", "case_id", "slide")
SEPARATORS = ("|", ";", ",")
"""Texts between joined labels that are detected; of two that fit equally well, the earlier one is used."""

_SHARE_OF_FILES = 0.5
"""Share of a column's first cells that must be files, for a column of pictures."""
_CELLS = 50
_TARGETS = {"0", "1", "-1", "0.0", "1.0", "-1.0", ""}


def describe_table(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The options with which `kmcl data import table` reads a table, as words, and the reason for each.

    Raises:
        DataError: the table cannot be read, or has no column of pictures or of labels.
    """
    frame = read_text_table(path, list_columns=_columns_of_lists(path))
    image, folder = _find_images(frame, path)
    words, reasons = [], [f"Column {image} has the pictures."]
    if image != "image":
        words += ["--image-column", image]
    if folder != path.parent:
        words += ["--image-folder", str(folder)]
        reasons.append(f"Their paths begin in {show_path(folder)}.")
    others = [str(name) for name in frame.columns if name != image]
    splits = [name for name in others if name.casefold() == SPLIT_COLUMN]
    if splits:
        others.remove(splits[0])
        words += ["--split-column", splits[0]] if splits[0] != SPLIT_COLUMN else []
        reasons.append(f"Column {splits[0]} has the splits.")
    else:
        reasons.append(
            "There is no column of splits: a fifth of the pictures becomes test, and a tenth of the rest val."
        )
    if group := next((name for name in others if name.casefold() in GROUP_NAMES), None):
        others.remove(group)
        words += ["--group-column", group]
        reasons.append(f"Pictures of the same {group} are never in two splits.")
    label_words, reason = _find_labels(frame, others, path)
    return (*words, *label_words), (*reasons, reason)


def _find_images(frame: pd.DataFrame, path: Path) -> tuple[str, Path]:
    """The column of pictures, and the folder in which its paths begin."""
    columns = [str(name) for name in frame.columns if isinstance(frame[name].iloc[0] if len(frame) else "", str)]
    known = [name for wanted in IMAGE_NAMES for name in columns if name.casefold() == wanted]
    folders = [path.parent, *sorted(one for one in path.parent.iterdir() if one.is_dir())]
    for name in dict.fromkeys([*known, *columns]):
        cells = [cell for cell in frame[name].iloc[:_CELLS] if cell]
        for folder in folders:
            if cells and sum((folder / cell).is_file() for cell in cells) >= _SHARE_OF_FILES * len(cells):
                _check_header(name, folder, path)
                return name, folder
    first = ", ".join(f"{name} {frame[name].iloc[0]}" for name in (known or columns)[:3]) if len(frame) else "no rows"
    raise DataError(
        f"{show_path(path)}: no column has paths of pictures (the first row has {show_value(first, 200)}); valid: "
        "paths that begin in the table's folder, or in a folder beside the table"
    )


def _check_header(name: str, folder: Path, path: Path) -> None:
    """Refuse a table whose first row is not a header but the row of a picture, which would be lost."""
    if is_file(folder / name):
        raise DataError(
            f"{show_path(path)}: got {show_value(name)} as the name of a column, which is a picture; valid: a first "
            "row with the names of the columns, such as image and labels"
        )


def _find_labels(frame: pd.DataFrame, columns: Sequence[str], path: Path) -> tuple[list[str], str]:
    """The options that name the labels, and the reason."""
    named = [name for wanted in LABEL_NAMES for name in columns if name.casefold() == wanted]
    targets = [name for name in columns if name not in named and set(frame[name].astype(str)) <= _TARGETS]
    if len(targets) >= 2 and not named:
        left = [name for name in columns if name not in targets]
        words = ["--classes", ",".join(targets)] if left else []
        other = f" (not used: {', '.join(left)})" if left else ""
        return words, f"{len(targets)} columns of 1, 0 and -1 are the classes{other}."
    texts = named or [name for name in columns if name not in targets]
    if not texts:
        raise DataError(
            f"{show_path(path)}: no column has labels; valid: a column of joined labels, or a column of 1 and 0 for "
            "each class"
        )
    if not named and len(texts) > 1:
        names = ", ".join(texts[:8])
        raise DataError(
            f"{show_path(path)}: got several columns that may have the labels ({show_value(names, 200)}); valid: a "
            "name such as labels or tags for that column, or kmcl data import table with --labels-column"
        )
    column = texts[0]
    cells = [cell for cell in frame[column] if isinstance(cell, str)]
    counts = {separator: sum(separator in cell for cell in cells) for separator in SEPARATORS}
    separator = max(counts, key=lambda one: counts[one])
    words = ["--labels-column", column]
    if not counts[separator]:
        return words, f"Column {column} has the labels, one for each picture or lists of them."
    words += ["--separator", separator] if separator != "|" else []
    return words, f"Column {column} has the labels, with {separator} between them."


def _columns_of_lists(path: Path) -> list[str]:
    """The columns of a Parquet file whose cells are lists."""
    try:
        with path.open("rb") as content:
            if content.read(4) != b"PAR1":
                return []
            return [field.name for field in pq.read_schema(path) if pa.types.is_list(field.type)]
    except pa.ArrowException:
        # A damaged file, about which the reader of tables says more.
        return []
    except OSError as error:
        raise DataError(f"{show_path(path)}: cannot be read: {error.strerror}; valid: a CSV or Parquet table") from None
