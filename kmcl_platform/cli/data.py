"""The commands of datasets: import one, check it, pack it, describe it. Heavy imports are inside them."""

from pathlib import Path

import click

from kmcl_platform.cli.data_import import import_group
from kmcl_platform.cli.progress import progress_bar
from kmcl_platform.errors import DataError
from kmcl_platform.messages import count_of, shell_command, show_path


@click.group()
def data() -> None:
    """Bring datasets into the form that a search reads, check, pack and describe them."""


data.add_command(import_group)


@data.command()
@click.argument("file")
@click.argument("out")
@click.option(
    "--shard-size",
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
def pack(file: str, out: str, shard_size: str, row_group_images: int, seed: int, overwrite: bool) -> None:
    """Write the images of manifest FILE as Parquet shards into OUT, a folder or a URI such as s3://bucket/prefix.

    OUT/manifest.parquet is then a manifest like any other. Images are not encoded again.
    """
    from kmcl_platform import pack_data

    with progress_bar() as progress:
        packed = pack_data(
            file,
            out,
            shard_size=shard_size,
            row_group_images=row_group_images,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
    packed.show()
    click.echo(f"written: {show_path(packed.path)}")
    click.echo(f"next: {shell_command(['kmcl', 'data', 'check', packed.path])}")


@data.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every fault, instead of a table.")
def check(file: str, as_json: bool) -> None:
    """Find every fault of manifest FILE; all images are decoded. Exit code 2: a search on it would be wrong.

    Rows count from 0.
    """
    from kmcl_platform import check_data

    with progress_bar() as progress:
        found = check_data(file, progress=progress)
    if as_json:
        click.echo(found.to_json())
    else:
        found.show()
        if found.is_fit:
            click.echo(f"next: {shell_command(['kmcl', 'data', 'describe', file])}")
        for remedy in found.remedies:
            click.echo(f"{remedy.purpose}: {remedy.command}")
    # An exception at the end, so that the exit code is 2 and all faults are printed before.
    if not found.is_fit:
        raise DataError(f"{found.path}: {count_of(len(found.report.faults), 'fault')}; a search on it would be wrong")


@data.command()
@click.argument("file")
@click.argument("out", type=click.Path(path_type=Path), required=False, metavar="[OUT.html]")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def describe(file: str, out: Path | None, overwrite: bool) -> None:
    """Write a page about the labels of manifest FILE: imbalance, labels per image, classes that occur together, drift.

    Without OUT, the page is next to FILE and has its name; if FILE is a URI, it is in the current folder.
    """
    from kmcl_platform import describe_data

    described = describe_data(file, out, overwrite=overwrite)
    described.show()
    click.echo(f"written: {described.path}")


COMMANDS = (data,)
