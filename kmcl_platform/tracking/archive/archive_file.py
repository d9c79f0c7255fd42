"""Read, write and join archives."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kmcl_platform.errors import DataError
from kmcl_platform.files.atomic_write import atomic_file
from kmcl_platform.messages import show_path, show_value
from kmcl_platform.tracking.archive.schema import ARCHIVE_VERSION, KEY, check_archive

VERSION_KEY = b"kmcl.archive_version"


def write_archive(table: pa.Table, path: Path) -> None:
    """Write an archive; a kill leaves the old file or the new one.

    Raises:
        DataError: the file cannot be written.
    """
    table = table.sort_by([(name, "ascending") for name in KEY])
    table = table.replace_schema_metadata({VERSION_KEY: str(ARCHIVE_VERSION).encode()})
    try:
        with atomic_file(path) as draft:
            # A dictionary for texts that are the same in many rows: a configuration is stored once.
            pq.write_table(table, draft, compression="zstd", compression_level=19)
    except OSError as error:
        raise DataError(
            f"{show_path(path)}: cannot be written: {error.strerror}; valid: a path in a writable folder"
        ) from None


def read_archive(path: Path) -> pa.Table:
    """Read and check an archive.

    Raises:
        DataError: the file is missing, no archive, an archive of a newer version, or not valid (`check_archive`).
    """
    where = show_path(path)
    valid = "valid: an archive of `kmcl archive`"
    try:
        # An open file, because Arrow accepts a name only if it is UTF-8. Not `pq.read_table`: a process that ends right
        # after it is sometimes aborted by Arrow's threads.
        with path.open("rb") as content, pq.ParquetFile(content) as file:
            table = file.read()
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror or error}); {valid}") from None
    except pa.ArrowException as error:
        raise DataError(f"{where}: is not Parquet ({' '.join(str(error).split())}); {valid}") from None
    version = (table.schema.metadata or {}).get(VERSION_KEY)
    if version is None:
        raise DataError(f"{where}: got a Parquet file that is no archive; {valid}")
    if version != str(ARCHIVE_VERSION).encode():
        raise DataError(
            f"{where}: got version {show_value(version.decode(errors='replace'))}; valid: {ARCHIVE_VERSION}, that of "
            "this platform"
        )
    return check_archive(table, where)


def join_archives(tables: Sequence[pa.Table], where: str) -> pa.Table:
    """One archive with the trials of all; a trial that several have must be the same in all of them.

    Args:
        tables: at least one.
        where: for messages, such as the names of the files.

    Raises:
        DataError: two archives have different rows of one epoch.
    """
    joined = pa.concat_tables(tables, promote_options="default").replace_schema_metadata(None)
    # A metric that one archive lacks is null there. So rows are compared in the joined form.
    rows: dict[tuple[object, ...], dict[str, object]] = {}
    for row in joined.to_pylist():
        key = tuple(row[name] for name in KEY)
        if rows.setdefault(key, row) != row:
            name = next(name for name in row if rows[key][name] != row[name])
            raise DataError(
                f"{where}: search {row['search']!r}, trial {row['trial']}, epoch {row['epoch']}, column {name!r}: got "
                f"{show_value(rows[key][name])} and {show_value(row[name])}; valid: the same value in both archives"
            )
    return check_archive(pa.Table.from_pylist(list(rows.values()), joined.schema), where)
