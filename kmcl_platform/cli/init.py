"""`kmcl init`: from a user's data to a search file. Heavy imports are inside the command."""

from pathlib import Path

import click

from kmcl_platform.cli.data_import import import_group
from kmcl_platform.cli.options import check_new_file, write_text_file
from kmcl_platform.errors import ConfigError
from kmcl_platform.files.file_status import is_there
from kmcl_platform.messages import shell_command, show_path, show_value


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the search [default: made of the data's name].")
@click.option("--out", type=click.Path(path_type=Path), help="The search file to write [default: NAME.yaml].")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def init(data: Path, name: str | None, out: Path | None, overwrite: bool) -> None:
    """Look at DATA and at this machine, and write a search file that fits, and the manifest it reads.

    DATA is a table of labels (CSV, Parquet), a manifest, or a folder: of VOC, MS-COCO, ADP or ChestX-ray14, with one
    table beside the pictures, or with a folder of pictures for each class.
    """
    from kmcl_platform.config.search_file import NAME_PATTERN
    from kmcl_platform.config.search_file_reader import parse_search_file
    from kmcl_platform.data.discover.dataset import CLASS_FOLDERS, MANIFEST, find_dataset, write_labels
    from kmcl_platform.data.manifest.parquet import read_manifest
    from kmcl_platform.search.plan.first_file import find_machine, first_file, measure_dataset, search_name

    name = name or search_name(data.resolve().stem)
    if not NAME_PATTERN.fullmatch(name):
        raise ConfigError(f"--name: got {show_value(name)}; valid: lower-case letters, digits, - and _, at most 63")
    found = find_dataset(data)
    out = out or Path(f"{name}.yaml")
    check_new_file("--out", out, ".yaml", "a search file", overwrite=overwrite)
    for reason in found.reasons:
        click.echo(reason)
    manifest, labels = out.with_suffix(".parquet"), out.with_name(f"{out.stem}_labels.csv")
    new = [path for path in (manifest, labels) if not is_there(path)]
    try:
        if found.kind == MANIFEST:
            manifest = found.root
        else:
            kind, root = found.kind, found.root
            if kind == CLASS_FOLDERS:
                check_new_file("--out", labels, ".csv", "a table of labels", overwrite=overwrite)
                write_labels(found.labels, labels)
                kind, root = "table", labels
            words = [str(root), str(manifest), *found.words, *(["--overwrite"] if overwrite else [])]
            # The command itself, so that the manifest keeps how it was made, and `kmcl data check` can name it.
            command = import_group.commands[kind]
            with command.make_context(f"kmcl data import {kind}", words) as context:
                command.invoke(context)
        text = first_file(name, str(manifest), measure_dataset(read_manifest(manifest)), find_machine())
        parse_search_file(text.encode(), show_path(out))
    except BaseException:
        # Nothing is left of an attempt that fails.
        for path in new:
            path.unlink(missing_ok=True)
        raise
    write_text_file(out, text)
    click.echo(f"written: {show_path(out)}, with the reason of each choice")
    click.echo(f"next: {shell_command(['kmcl', 'plan', out])}")


COMMANDS = (init,)
