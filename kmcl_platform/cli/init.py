"""`kmcl init`: from a user's data to a search file. Heavy imports are inside the command."""

from pathlib import Path

import click

from kmcl_platform.cli.options import check_new_file
from kmcl_platform.cli.progress import progress_bar
from kmcl_platform.errors import DataError
from kmcl_platform.messages import shell_command


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the search [default: made of the data's name].")
@click.option("--out", type=click.Path(path_type=Path), help="The search file to write [default: NAME.yaml].")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def init(data: Path, name: str | None, out: Path | None, overwrite: bool) -> None:
    """Look at DATA and at this machine, and write a search file that fits, and the manifest it reads.

    DATA is a table of labels (CSV, Parquet), a manifest, or a folder: of VOC, MS-COCO, ADP or ChestX-ray14, with one
    table beside the images, or with a folder of images for each class.
    """
    from kmcl_platform import init as write_first_file

    if out is not None:
        check_new_file("--out", out, ".yaml", "a search file", overwrite=overwrite)
    try:
        with progress_bar() as progress:
            made = write_first_file(data, name=name, out=out, overwrite=overwrite, progress=progress)
    except DataError as error:
        for line in getattr(error, "lines", ()):
            click.echo(line)
        raise
    made.show()
    click.echo(f"next: {shell_command(['kmcl', 'plan', made.path])}")


COMMANDS = (init,)
