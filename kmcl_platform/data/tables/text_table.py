"""A CSV or Parquet file as a table whose cells are text."""

import bz2
import csv
import gzip
import io
import lzma
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kmcl_platform.data.manifest.parquet import without_index
from kmcl_platform.data.storage.object_store import one_line
from kmcl_platform.data.tables.encodings import decode_text, split_lines
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path, show_value

DELIMITERS = (",", ";", "\t", "|")
"""The delimiters of CSV files that are detected; if two fit equally well, the earlier one is used."""

LIST_CELL = "<list>"
"""The text of each cell in a column of lists that is not needed; it is not a valid target."""

_UNPACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\0": lzma.decompress,
}
_HEADER_CHARACTERS = 100_000
"""The delimiter is detected in this part; Python's `csv` refuses a longer field."""
_VALID = "a CSV or Parquet table"


def read_text_table(
    path: Path,
    needed: Iterable[str] = (),
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    list_columns: Iterable[str] = (),
    options: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """Read a CSV or Parquet file with every cell as text.

    A cell without a value is "". A CSV file may be compressed (gzip, bzip2, xz). Columns without a name, and the index
    that pandas stores, are left out: neither is a class.

    Args:
        path: the file. What it is depends on its first bytes, not on its name.
        needed: columns that must be there; others are read too.
        delimiter: between the columns of a CSV file; None: one of `DELIMITERS`, detected from its first line.
        encoding: of a CSV file; None: detected, see `find_encoding`.
        list_columns: columns whose cells may be lists; such a cell stays a list, of its values as they are.
        options: the command-line options that name columns, by column, for the error about a missing one.

    Raises:
        DataError: the file is missing or cannot be read, a column is missing, a name is repeated, or a column has
            values that are not text, such as lists.
    """
    needed = list(needed)
    if delimiter is not None and len(delimiter) != 1:
        raise DataError(f"delimiter: got {show_value(delimiter)}; valid: one character, such as ';'")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{show_path(path)}: cannot be read: {error.strerror}; valid: {_VALID}") from None
    try:
        # The first bytes of every Parquet file.
        if data.startswith(b"PAR1"):
            with pq.ParquetFile(pa.BufferReader(data)) as file:
                frame = _to_text(file.read(), needed, set(list_columns))
        elif path.suffix == ".parquet":
            raise ValueError("not Parquet")
        else:
            frame = _read_csv(path, data, needed, delimiter, encoding)
    except (OSError, EOFError, lzma.LZMAError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{show_path(path)}: cannot be read: {one_line(error)}; valid: {_VALID}") from None
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        seen = ", ".join(show_value(name, 60) for name in frame.columns[:30]) or "none"
        more = f", … ({len(frame.columns)} columns)" if len(frame.columns) > 30 else ""
        named = [f"{show_value(name)}{f' ({options[name]})' if name in options else ''}" for name in missing]
        by_option = ", or other names by these options, or --delimiter" if options else ""
        raise DataError(
            f"{show_path(path)}: columns: {', '.join(named)} missing; got {seen}{more}; "
            f"valid: a table with these columns{by_option}"
        )
    if not len(frame):
        raise DataError(f"{show_path(path)}: got no rows; valid: one row for each image")
    return frame


def _read_csv(path: Path, data: bytes, needed: list[str], delimiter: str | None, encoding: str | None) -> pd.DataFrame:
    for magic, unpack in _UNPACK.items():
        if data.startswith(magic):
            data = unpack(data)
    # The first bytes of ZIP files, such as .xlsx, and of old Excel files.
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ValueError("an archive or an Excel workbook; export its sheet as CSV")
    text = decode_text(path, data, encoding)
    # Excel writes and reads such a first line.
    stated = re.match(r'"?sep=(.)"?\r?\n', text)
    if stated:
        text = text[stated.end() :]
        delimiter = delimiter or stated[1]
    delimiter = delimiter or find_delimiter(text, needed)
    try:
        # The header is read as a row: pandas would rename a second column `cat` to `cat.1`, which would be a new class.
        rows = pd.read_csv(
            io.StringIO(text, newline=""),
            header=None,
            sep=delimiter,
            dtype=str,
            # Otherwise pandas would read `NA`, `None` and other words as missing values, and a class may have such a
            # name.
            keep_default_na=False,
            na_filter=False,
            # Otherwise a delimiter at the end of each line would make the first column an index.
            index_col=False,
            engine="c",
        ).fillna("")
    except pd.errors.ParserError as error:
        raise ValueError(_parser_problem(str(error), delimiter)) from None
    names = [_column_name(name) for name in rows.iloc[0]]
    _check_names([name for name in names if name])
    frame = rows.iloc[1:].reset_index(drop=True).set_axis(names, axis="columns")
    # A column without a name is pandas's index, or follows from a delimiter at the end of each line. It is not a class.
    return frame.loc[:, [bool(name) for name in names]]


def _parser_problem(message: str, delimiter: str) -> str:
    """What pandas says about a line, in our words."""
    if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", message):
        before, line, seen = found.groups()
        return (
            f"line {line} has {seen} columns, the lines before it {before} (the delimiter is {delimiter!r}; a text "
            "that contains it needs quotes)"
        )
    if found := re.search(r"EOF inside string starting at row (\d+)", message):
        return f"the quotes that begin in line {int(found[1]) + 1} do not end"
    return message


def find_delimiter(text: str, needed: Iterable[str] = ()) -> str:
    """The delimiter of a CSV file, detected from its first line.

    Args:
        text: the file's text.
        needed: columns that should be there.

    Returns:
        The delimiter out of `DELIMITERS` that gives most of the needed columns; if several do, the one that
        gives most columns.
    """
    header = next((line for line in split_lines(text[:_HEADER_CHARACTERS]) if line.strip()), "")

    def found(delimiter: str) -> tuple[int, int]:
        names = {name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])}
        return sum(name in names for name in needed), len(names)

    return max(DELIMITERS, key=found)


def _column_name(name: str) -> str:
    # Pandas gives this name to an index without a name when it reads its own CSV file.
    return "" if re.fullmatch(r"Unnamed: \d+", name.strip()) else name.strip()


def _to_text(table: pa.Table, needed: list[str], list_columns: set[str]) -> pd.DataFrame:
    stored = without_index(table.column_names)
    names = [_column_name(name) for name in stored]
    _check_names([name for name in names if name])
    columns = {}
    for name, column in zip(names, stored, strict=True):
        if not name:
            continue
        kind = table[column].type
        # A column of lists that nothing asks for is not a reason to refuse the table. Its cells get a text that is no
        # target.
        if pa.types.is_nested(kind) and not (name in list_columns and not pa.types.is_struct(kind)):
            if name in needed:
                raise ValueError(f"column {show_value(name)} is of type {kind}, not text")
            columns[name] = [LIST_CELL] * table.num_rows
            continue
        values = table[column].to_pylist()
        columns[name] = values if pa.types.is_nested(kind) else [cell_text(value) for value in values]
    return pd.DataFrame(columns, dtype=object)


def cell_text(value: object) -> str:
    """A value of a Parquet cell as text.

    A missing value is "". A whole number is written without a point even if it is stored as floating point, which is
    how pandas keeps a column of whole numbers that has a missing value.

    >>> [cell_text(value) for value in (None, float("nan"), 3.0, 3, 0.5, True, "a")]
    ['', '', '3', '3', '0.5', 'True', 'a']
    """
    # Only NaN differs from itself.
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    # Some programs write columns of text without the mark of a text type.
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _check_names(names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"columns {', '.join(map(show_value, repeated))} appear twice")
