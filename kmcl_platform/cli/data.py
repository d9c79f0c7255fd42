"""The commands of datasets: import one, check it, pack it, describe it. Heavy imports stand inside them."""

import shlex
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from kmcl_platform.cli.progress import progress_bar
from kmcl_platform.errors import DataError

_EXAMPLES = 5
"""Faults of each kind that are shown."""


@click.group()
def data() -> None:
    """Bring datasets into the form that a search reads, check, pack and describe them."""


@data.group("import")
def import_group() -> None:
    """Write the manifest of a dataset, read from its official layout; images stay where they are."""


def _out_options(command: Any) -> Any:
    """Give a command its arguments ROOT and OUT, and `--overwrite`."""
    command = click.option("--overwrite", is_flag=True, help="Replace OUT where it exists.")(command)
    command = click.argument("out", type=click.Path(path_type=Path))(command)
    return click.argument("root", type=click.Path(path_type=Path))(command)


def _draw_options(command: Any) -> Any:
    """Give a command `--val-fraction` and `--seed`."""
    command = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")(
        command
    )
    return click.option(
        "--val-fraction", type=float, default=0.1, show_default=True, help="Share of train that becomes val."
    )(command)


_all_negative_option = click.option(
    "--all-negative",
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="Images without any label: negative for every class, or left out.",
)


@import_group.command()
@_out_options
@_draw_options
@click.option("--year", type=click.Choice(["2007", "2012"]), required=True)
def voc(root: Path, out: Path, overwrite: bool, **options: Any) -> None:
    """PASCAL VOC in ROOT (VOCdevkit); a difficult label is unknown. 2012's val is the test split."""
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
    help="What a class is that only crowd regions show.",
)
def coco(root: Path, out: Path, overwrite: bool, **options: Any) -> None:
    """MS-COCO in ROOT (annotations/, train2017/ …); its val is the test split."""
    _run_import("coco", root, out, overwrite, options)


@import_group.command()
@_out_options
@click.option("--level", type=click.Choice(["L1", "L2", "L3", "L3Only"]), required=True)
@_all_negative_option
def adp(root: Path, out: Path, overwrite: bool, **options: Any) -> None:
    """The Atlas of Digital Pathology in ROOT (ADP V1.0 Release), at one level of its hierarchy."""
    _run_import("adp", root, out, overwrite, options)


@import_group.command()
@_out_options
@_draw_options
def chestxray14(root: Path, out: Path, overwrite: bool, **options: Any) -> None:
    """ChestX-ray14 of the NIH in ROOT (Data_Entry_2017.csv, both lists, images); no patient is in two splits."""
    _run_import("chestxray14", root, out, overwrite, options)


@import_group.command()
@_out_options
@_draw_options
@click.option("--image-column", default="image", show_default=True)
@click.option("--split-column", default="split", show_default=True, help="train, val, test; drawn where there is none.")
@click.option("--labels-column", help="Joined labels [default: each other column is a class of 1, 0, -1].")
@click.option("--separator", default="|", show_default=True, help="Between joined labels.")
@click.option("--no-label", metavar="WORD", help="What a cell without labels says, beside nothing.")
@click.option("--classes", default="", metavar="A,B,…", help="Names of the classes [default: all that are met].")
@click.option("--group-column", help="Patients or the like: never in two splits.")
@click.option("--image-folder", type=click.Path(path_type=Path), help="Where paths start [default: beside ROOT].")
@click.option("--test-fraction", type=float, default=0.2, show_default=True, help="Share that becomes test, if drawn.")
def table(root: Path, out: Path, overwrite: bool, classes: str, **options: Any) -> None:
    """A CSV or Parquet table in file ROOT; every fault of it is shown at once. Rows count from 0."""
    names = tuple(name.strip() for name in classes.split(",") if name.strip())
    _run_import("table", root, out, overwrite, {**options, "classes": names})


def _run_import(kind: str, root: Path, out: Path, overwrite: bool, options: dict[str, Any]) -> None:
    """Read, place, write, and show what was written."""
    if out.suffix != ".parquet":
        raise DataError(f"{out}: got a name that ends in {out.suffix!r}; valid: the path of a manifest (*.parquet)")
    if out.exists() and not overwrite:
        raise DataError(f"{out}: exists; valid: a new file, or --overwrite")
    from kmcl_platform.data.manifest.parquet import write_manifest
    from kmcl_platform.data.manifest.relative_paths import place_manifest
    from kmcl_platform.data.manifest.split_counts import to_table
    from kmcl_platform.data.manifest.table_errors import FaultyTable
    from kmcl_platform.data.readers.registry import READERS

    try:
        with progress_bar() as progress:
            manifest = READERS[kind](root, progress=progress, **options)
    except FaultyTable as error:
        _print_faults(error.faults)
        raise
    # The folder's own name, without links: relative paths are counted from there.
    target = out.parent.resolve() / out.name
    write_manifest(place_manifest(manifest, target.parent), target)
    Console().print(to_table(manifest))
    click.echo(f"written: {out}")
    click.echo(f"next: kmcl data check {out}")


def _read_size(context: click.Context, option: click.Parameter, value: str) -> int:
    from kmcl_platform.data.storage.byte_sizes import parse_size

    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, option) from None


@data.command()
@click.argument("file")
@click.argument("out")
@click.option(
    "--shard-size",
    callback=_read_size,
    metavar="SIZE",
    default="256MiB",
    show_default=True,
    help="A shard grows no larger.",
)
@click.option(
    "--row-group-images", type=click.IntRange(1), default=64, show_default=True, help="Images that are read at once."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the shuffle within each split.")
@click.option("--overwrite", is_flag=True, help="Replace what was packed into OUT.")
def pack(file: str, out: str, shard_size: int, row_group_images: int, seed: int, overwrite: bool) -> None:
    """Write the images of manifest FILE as Parquet shards into OUT, a folder or a URI such as s3://bucket/prefix.

    OUT/manifest.parquet is then a manifest as any other. Images are packed as they are encoded.
    """
    from kmcl_platform.data.manifest.parquet import read_manifest
    from kmcl_platform.data.manifest.split_counts import to_table
    from kmcl_platform.data.pack.write_shards import MANIFEST_NAME, pack
    from kmcl_platform.data.storage.object_store import parse_location

    location = parse_location(out)
    with progress_bar() as progress:
        packed = pack(
            read_manifest(file),
            location,
            shard_bytes=shard_size,
            group_images=row_group_images,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
    Console().print(to_table(packed))
    assert packed.packing is not None
    shards = packed.packing.shards.values()
    # As it was given: of a path that the user gave, and of a URI with all that leads there.
    target = (
        f"{out.rstrip('/')}/{MANIFEST_NAME}" if location.path and "://" not in out else location.join(MANIFEST_NAME)
    )
    size = sum(shard.num_bytes for shard in shards)
    click.echo(f"packed: {len(shards)} shard{'s' if len(shards) > 1 else ''}, {size / 1e6:,.1f} MB")
    click.echo(f"written: {target}")
    click.echo(f"next: kmcl data check {shlex.quote(str(target))}")


@data.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every fault, instead of a table.")
def check(file: str, as_json: bool) -> None:
    """Find every fault of manifest FILE, each image decoded; exit code 2 if a search on it would be wrong.

    Rows count from 0.
    """
    from kmcl_platform.data.check.check import check_manifest, to_json
    from kmcl_platform.data.manifest.split_counts import to_table
    from kmcl_platform.data.storage.object_store import parse_location

    with progress_bar() as progress:
        report = check_manifest(file, progress)
    location = parse_location(file)
    shown = file if location.path else str(location)
    if as_json:
        click.echo(to_json(report))
    else:
        if report.manifest is not None:
            Console().print(to_table(report.manifest))
        if report.warnings:
            click.echo("worth knowing:")
            _print_faults(report.warnings)
        if report.faults:
            click.echo("faults:")
            _print_faults(report.faults)
        else:
            click.echo(f"fit for a search: data.source: {shown}")
            click.echo(f"next: kmcl data describe {shlex.quote(file)}")
    if report.faults:
        count = len(report.faults)
        raise DataError(f"{shown}: {count} fault{'s' if count > 1 else ''}; a search on it would be wrong")


@data.command()
@click.argument("file")
@click.argument("out", type=click.Path(path_type=Path), required=False, metavar="[OUT.html]")
@click.option("--overwrite", is_flag=True, help="Replace OUT where it exists.")
def describe(file: str, out: Path | None, overwrite: bool) -> None:
    """Write a page about the labels of manifest FILE: imbalance, labels per image, which classes go together, drift.

    OUT is beside FILE, with its name, unless another is given; of a URI it is in this folder.
    """
    from kmcl_platform.data.storage.object_store import parse_location

    location = parse_location(file)
    out = out or (Path(file) if location.path else Path(location.name)).with_suffix(".html")
    if out.suffix != ".html":
        raise DataError(f"{out}: got a name that ends in {out.suffix!r}; valid: the path of a page (*.html)")
    if out.exists() and not overwrite:
        raise DataError(f"{out}: exists; valid: a new file, or --overwrite")
    from kmcl_platform.data.manifest.parquet import read_manifest
    from kmcl_platform.data.manifest.split_counts import to_table
    from kmcl_platform.data.report.page import write_page

    manifest = read_manifest(file)
    write_page(manifest, out)
    Console().print(to_table(manifest))
    click.echo(f"written: {out}")


def _print_faults(faults: Any) -> None:
    """Faults by kind, each with its count and first examples."""
    from kmcl_platform.data.manifest.table_errors import group_faults

    for kind, group in group_faults(faults).items():
        click.echo(f"{kind}: {len(group)}")
        for fault in group[:_EXAMPLES]:
            click.echo(f"  {fault}")
        if len(group) > _EXAMPLES:
            click.echo(f"  … and {len(group) - _EXAMPLES} more")


COMMANDS = (data,)
