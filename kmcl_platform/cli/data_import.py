"""`kmcl data import`: one command for each reader. Heavy imports are inside them."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from kmcl_platform.cli.progress import progress_bar
from kmcl_platform.errors import DataError
from kmcl_platform.messages import shell_command


@click.group("import")
def import_group() -> None:
    """Read a dataset in its official layout and write its manifest; images stay where they are."""


def _out_options(command: Any) -> Any:
    """Give a command its arguments ROOT and OUT, and the options that all have."""
    # click lists first what is added last: the arguments ROOT and OUT are added last.
    command = click.option(
        "--near-duplicates",
        is_flag=True,
        help="Count a picture that was stored again in another format, quality or size as a copy. All images are then "
        "decoded: about 3 ms for a photograph of 500x375, on each core.",
    )(command)
    command = click.option(
        "--duplicates",
        type=click.Choice(["keep", "group", "drop"]),
        default="group",
        show_default=True,
        help="Pictures with the same bytes. keep: not compared; group: never in two splits; drop: one row of each.",
    )(command)
    command = click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")(command)
    command = click.argument("out", type=click.Path(path_type=Path))(command)
    return click.argument("root", type=click.Path(path_type=Path))(command)


FRACTION = click.FloatRange(0, 1, min_open=True, max_open=True)


def _draw_options(command: Any) -> Any:
    """Give a command `--val-fraction` and `--seed`."""
    command = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the draws.")(
        command
    )
    return click.option(
        "--val-fraction", type=FRACTION, default=0.1, show_default=True, help="Share of train that becomes val."
    )(command)


_all_negative_option = click.option(
    "--all-negative",
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="Images without any label: keep them, negative for every class, or drop them.",
)


@import_group.command()
@_out_options
@_draw_options
@click.option("--year", type=click.Choice(["2007", "2012"]), required=True)
def voc(root: Path, out: Path, overwrite: bool, **options: Any) -> None:
    """Read PASCAL VOC in ROOT (VOCdevkit); a difficult label is unknown. 2012's val is the test split."""
    _run_import("voc", root, out, overwrite, options)


@import_group.command()
@_out_options
@_draw_options
@click.option("--year", type=click.Choice(["2014", "2017"]), required=True)
@_all_negative_option
@click.option(
    "--crowds",
    type=click.Choice(["positive", "unknown"]),
    default="positive",
    show_default=True,
    help="Label of a class that only crowd regions of an image show.",
)
def coco(root: Path, out: Path, overwrite: bool, **options: Any) -> None:
    """Read MS-COCO in ROOT (annotations/, train2017/ …); its val is the test split."""
    _run_import("coco", root, out, overwrite, options)


@import_group.command()
@_out_options
@click.option("--level", type=click.Choice(["L1", "L2", "L3", "L3Only"]), required=True)
@_all_negative_option
def adp(root: Path, out: Path, overwrite: bool, **options: Any) -> None:
    """Read the Atlas of Digital Pathology in ROOT (ADP V1.0 Release), at one level of its hierarchy."""
    _run_import("adp", root, out, overwrite, options)


@import_group.command()
@_out_options
@_draw_options
def chestxray14(root: Path, out: Path, overwrite: bool, **options: Any) -> None:
    """Read ChestX-ray14 of the NIH in ROOT (Data_Entry_2017.csv, both lists, images); no patient is in two splits."""
    _run_import("chestxray14", root, out, overwrite, options)


@import_group.command()
@_out_options
@_draw_options
@click.option("--image-column", default="image", show_default=True)
@click.option(
    "--split-column",
    default="split",
    show_default=True,
    help="Column of train, val, test. Without it, splits are drawn.",
)
@click.option(
    "--labels-column", help="Column of joined labels, or of lists [default: each other column is a class of 1, 0, -1]."
)
@click.option("--separator", help="Text between joined labels [default: |].")
@click.option("--no-label", metavar="WORD", help="Word in a cell without labels; an empty cell is valid too.")
@click.option("--classes", default="", metavar="A,B,…", help="Names of the classes [default: all that occur].")
@click.option("--group-column", help="Column of groups, such as patients. No group is in two splits.")
@click.option(
    "--image-folder", type=click.Path(path_type=Path), help="Folder in which image paths start [default: that of ROOT]."
)
@click.option(
    "--delimiter", metavar="CHARACTER", help="Character between columns of a CSV file: , ; | tab [default: detected]."
)
@click.option("--encoding", help="Encoding of a CSV file, such as latin-1 [default: UTF-8 or UTF-16, detected].")
@click.option(
    "--test-fraction",
    type=FRACTION,
    default=0.2,
    show_default=True,
    help="Share of the images that becomes test, if splits are drawn.",
)
def table(root: Path, out: Path, overwrite: bool, **options: Any) -> None:
    """Read a CSV or Parquet table in file ROOT; all its faults are shown together. Rows count from 0."""
    _run_import("table", root, out, overwrite, options)


@import_group.command()
@_out_options
def manifest(root: Path, out: Path, overwrite: bool, **options: Any) -> None:
    """Read the manifest in file ROOT again, to leave out copies of pictures; its splits stay as they are."""
    _run_import("manifest", root, out, overwrite, options)


def _run_import(kind: str, root: Path, out: Path, overwrite: bool, options: dict[str, Any]) -> None:
    """Read a dataset, write its manifest, and print a table of it."""
    from kmcl_platform import import_data

    # The others have the reader's defaults, which are those of the command line.
    context = click.get_current_context()
    given = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    try:
        with progress_bar() as progress:
            made = import_data(kind, root, out, overwrite=overwrite, progress=progress, **given)
    except DataError as error:
        # All faults of a table: the error itself names only one.
        for line in getattr(error, "lines", ()):
            click.echo(line)
        raise
    made.show()
    click.echo(f"written: {made.path}")
    click.echo(f"next: {shell_command(['kmcl', 'data', 'check', out])}")
