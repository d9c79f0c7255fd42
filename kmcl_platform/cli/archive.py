"""The commands of archives: write one from a store, simulate searches with it. Heavy imports are inside them."""

from pathlib import Path

import click

from kmcl_platform.cli.options import check_new_file, open_store, store_options, write_text_file
from kmcl_platform.cli.progress import progress_bar
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
    from kmcl_platform import archive as write_archive

    check_new_file("--to", out, ".parquet", "an archive", overwrite=overwrite)
    with progress_bar() as progress:
        store = open_store(folder, tracking_uri)
        made = write_archive(names, out, join=others, store=store, overwrite=overwrite, progress=progress)
    for name, number in made.left_out.items():
        click.echo(f"search {name}: {count_of(number, 'trial')} left out, not ended; next: kmcl search with its file")
    size = out.stat().st_size / 1e6
    click.echo(
        f"written: {show_path(out)} ({count_of(made.trials, 'trial')}, {count_of(made.rows, 'row')}, {size:.2f} MB)"
    )


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--archive",
    "archives",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="An archive of this search's space; several are joined.",
)
@click.option("--searches", type=click.IntRange(1, 100_000), default=200, show_default=True, help="Simulated searches.")
@click.option(
    "--compare",
    multiple=True,
    metavar="YAML",
    help="Another setting beside the file's, such as '{sampler: {kind: random}}'; several are allowed.",
)
@click.option("--at-once", type=click.IntRange(1), help="Trials at the same time [default: as on this machine].")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the simulation.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Path of the page [default: NAME-replay.html, which is replaced; with --json none].",
)
@click.option("--overwrite", is_flag=True, help="Replace the page of --out if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def replay(
    file: Path,
    archives: tuple[Path, ...],
    searches: int,
    compare: tuple[str, ...],
    at_once: int | None,
    seed: int,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Simulate searches of FILE with the learning curves of an archive; nothing is trained.

    The decisions are made by the code of a real search: its sampler, its early stopping, its budget. The result shows
    what they are worth, compared with no early stopping, with random search, and with the settings of --compare.
    """
    from kmcl_platform import SearchFile, replay as run_replay

    # A name of our own: the page is an older one of the same search.
    overwrite = overwrite or out is None
    if out is None and not as_json:
        out = Path(f"{SearchFile.from_yaml(file).name}-replay.html")
    if out is not None:
        check_new_file("--out", out, ".html", "a page", overwrite=overwrite)
    with progress_bar() as progress:
        result = run_replay(
            file, archives, searches=searches, compare=compare, at_once=at_once, seed=seed, progress=progress
        )
    # The result first: it is not lost if the page cannot be written.
    if as_json:
        click.echo(result.to_json())
    else:
        result.show()
    if out is not None:
        write_text_file(out, result.to_page())
    if out is not None and not as_json:
        click.echo(f"written: {show_path(out)}")


COMMANDS = (archive, replay)
