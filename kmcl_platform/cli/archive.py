"""The command that takes the learning curves of finished searches out of a store. Heavy imports are inside it."""

from pathlib import Path

import click

from kmcl_platform.cli.options import open_store, store_options
from kmcl_platform.cli.progress import progress_bar
from kmcl_platform.errors import DataError
from kmcl_platform.files.file_status import is_there
from kmcl_platform.messages import count_of, show_path


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--to", "out", type=click.Path(path_type=Path), required=True, help="Path of the archive (*.parquet).")
@click.option(
    "--join",
    "others",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Take the trials of this archive too; several are allowed.",
)
@click.option("--overwrite", is_flag=True, help="Replace an archive that exists.")
@store_options
def archive(
    names: tuple[str, ...],
    out: Path,
    others: tuple[Path, ...],
    overwrite: bool,
    folder: Path,
    tracking_uri: str | None,
) -> None:
    """Write the trials of searches NAME with all their epochs into one Parquet file.

    Trials that have not ended are left out. The columns are described in docs/archive.md.
    """
    from kmcl_platform.tracking.archive.archive_file import join_archives, read_archive, write_archive
    from kmcl_platform.tracking.archive.collect import archive_searches

    if out.suffix != ".parquet":
        raise DataError(f"--to: got {show_path(out)}; valid: the path of an archive (*.parquet)")
    if is_there(out) and not overwrite:
        raise DataError(f"--to: got {show_path(out)}, which exists; valid: a new file, or --overwrite")
    if not names and not others:
        raise DataError("names: got none; valid: the names of searches, or --join with the path of an archive")
    # The files first: they are read in a moment, and a mistake in one of them is seen before the store is read.
    tables = [read_archive(path) for path in others]
    if names:
        with progress_bar() as progress:
            tables.insert(0, archive_searches(open_store(folder, tracking_uri), names, progress))
    table = join_archives(tables, ", ".join([*names, *map(show_path, others)]))
    write_archive(table, out)
    trials = len({tuple(row.values()) for row in table.select(["store", "search", "trial"]).to_pylist()})
    size = out.stat().st_size / 1e6
    click.echo(
        f"written: {show_path(out)} ({count_of(trials, 'trial')}, {count_of(table.num_rows, 'row')}, {size:.2f} MB)"
    )


COMMANDS = (archive,)
