"""`kmcl data import`: one command for each reader, made from the reader's options. Heavy imports are inside them."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from kmcl_platform.cli.progress import progress_bar
from kmcl_platform.cli.reader_options import to_params
from kmcl_platform.errors import DataError
from kmcl_platform.messages import shell_command


class _Readers(click.Group):
    """The commands are the readers, the platform's own and those of a plug-in."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._readers(ctx))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        reader = self._readers(ctx).get(name)
        if reader is None:
            return None

        def run(root: Path, out: Path, overwrite: bool, **options: Any) -> None:
            _run_import(name, root, out, overwrite, {**options, "plugin": ctx.params.get("plugin")})

        return click.Command(name, params=to_params(reader), callback=run, help=reader.__doc__)

    def _readers(self, ctx: click.Context) -> dict[str, Any]:
        from kmcl_platform import list_readers

        return dict(list_readers(ctx.params.get("plugin")))


@click.group("import", cls=_Readers)
@click.option(
    "--plugin",
    type=click.Path(path_type=Path),
    # Before `--help`, which lists the commands.
    is_eager=True,
    metavar="FILE.py",
    help="A file with a reader of your own, which is then one of the commands.",
)
def import_group(plugin: Path | None) -> None:
    """Read a dataset in its official layout and write its manifest; images stay where they are."""


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
            made = import_data(
                kind, root, out, plugin=options["plugin"], overwrite=overwrite, progress=progress, **given
            )
    except DataError as error:
        # All faults of a table: the error itself names only one.
        for line in getattr(error, "lines", ()):
            click.echo(line)
        raise
    made.show()
    click.echo(f"written: {made.path}")
    click.echo(f"next: {shell_command(['kmcl', 'data', 'check', out])}")
