"""The commands of datasets: import one, check it, pack it, describe it. Heavy imports are inside them."""

from pathlib import Path

import click
from rich.console import Console

from kmcl_platform.cli.data_import import import_group
from kmcl_platform.cli.fault_list import print_faults
from kmcl_platform.cli.progress import progress_bar
from kmcl_platform.errors import DataError
from kmcl_platform.files.file_status import is_there
from kmcl_platform.messages import count_of, shell_command, show_path


@click.group()
def data() -> None:
    """Bring datasets into the form that a search reads, check, pack and describe them."""


data.add_command(import_group)


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
    help="Largest size of a shard.",
)
@click.option(
    "--row-group-images", type=click.IntRange(1), default=64, show_default=True, help="Images that are read together."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the shuffle in each split.")
@click.option("--overwrite", is_flag=True, help="Replace the packed files in OUT.")
def pack(file: str, out: str, shard_size: int, row_group_images: int, seed: int, overwrite: bool) -> None:
    """Write the images of manifest FILE as Parquet shards into OUT, a folder or a URI such as s3://bucket/prefix.

    OUT/manifest.parquet is then a manifest like any other. Images are not encoded again.
    """
    from kmcl_platform.data.manifest.parquet import read_manifest
    from kmcl_platform.data.manifest.split_counts import to_table
    from kmcl_platform.data.pack.write_shards import MANIFEST_NAME, pack
    from kmcl_platform.data.storage.location import parse_location

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
    # A path is shown as the user wrote it, a URI with all its parameters, which are part of the address.
    target = (
        f"{out.rstrip('/')}/{MANIFEST_NAME}" if location.path and "://" not in out else location.join(MANIFEST_NAME)
    )
    size = sum(shard.num_bytes for shard in shards)
    click.echo(f"packed: {count_of(len(shards), 'shard')}, {size / 1e6:,.1f} MB")
    click.echo(f"written: {show_path(str(target))}")
    click.echo(f"next: {shell_command(['kmcl', 'data', 'check', target])}")


@data.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every fault, instead of a table.")
def check(file: str, as_json: bool) -> None:
    """Find every fault of manifest FILE; all images are decoded. Exit code 2: a search on it would be wrong.

    Rows count from 0.
    """
    from kmcl_platform.data.check.check import check_manifest
    from kmcl_platform.data.check.json_report import to_json
    from kmcl_platform.data.check.remedies import find_remedies
    from kmcl_platform.data.manifest.split_counts import to_table
    from kmcl_platform.data.storage.location import parse_location

    with progress_bar() as progress:
        report = check_manifest(file, progress)
    remedies = find_remedies(report, file)
    location = parse_location(file)
    shown = show_path(file if location.path else str(location))
    if as_json:
        click.echo(to_json(report, remedies))
    else:
        if report.manifest is not None:
            Console().print(to_table(report.manifest))
        if report.warnings:
            click.echo("worth knowing:")
            print_faults(report.warnings)
        if report.faults:
            click.echo("faults:")
            print_faults(report.faults)
        else:
            click.echo(f"fit for a search: data.source: {shown}")
            click.echo(f"next: {shell_command(['kmcl', 'data', 'describe', file])}")
        for remedy in remedies:
            click.echo(f"{remedy.purpose}: {remedy.command}")
    # An exception at the end, so that the exit code is 2 and all faults are printed before.
    if report.faults:
        raise DataError(f"{shown}: {count_of(len(report.faults), 'fault')}; a search on it would be wrong")


@data.command()
@click.argument("file")
@click.argument("out", type=click.Path(path_type=Path), required=False, metavar="[OUT.html]")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def describe(file: str, out: Path | None, overwrite: bool) -> None:
    """Write a page about the labels of manifest FILE: imbalance, labels per image, classes that occur together, drift.

    Without OUT, the page is next to FILE and has its name; if FILE is a URI, it is in the current folder.
    """
    from kmcl_platform.data.storage.location import parse_location

    # Checked before the manifest is read, which may take long or need the network.
    location = parse_location(file)
    out = out or (Path(file) if location.path else Path(location.name)).with_suffix(".html")
    if out.suffix != ".html":
        raise DataError(f"{show_path(out)}: got a name that ends in {out.suffix!r}; valid: the path of a page (*.html)")
    if is_there(out) and not overwrite:
        raise DataError(f"{show_path(out)}: exists; valid: a new file, or --overwrite")
    from kmcl_platform.data.manifest.parquet import read_manifest
    from kmcl_platform.data.manifest.split_counts import to_table
    from kmcl_platform.data.report.page import write_page

    manifest = read_manifest(file)
    write_page(manifest, out)
    Console().print(to_table(manifest))
    click.echo(f"written: {show_path(out)}")


COMMANDS = (data,)
