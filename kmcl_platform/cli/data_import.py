"""`kmcl data import`: one command for each reader, made from the reader's options. Heavy imports are inside them."""

from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import click
from click.core import ParameterSource

from kmcl_platform.cli.progress import progress_bar
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

        return click.Command(name, params=_to_params(reader), callback=run, help=reader.__doc__)

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


def _to_params(reader: Any) -> list[click.Parameter]:
    """The arguments ROOT and OUT, and the options of a reader."""
    return [
        click.Argument(["root"], type=click.Path(path_type=Path)),
        click.Argument(["out"], type=click.Path(path_type=Path)),
        click.Option(["--overwrite"], is_flag=True, help="Replace OUT if it exists."),
        *(_to_option(name, field) for name, field in reader.model_fields.items()),
    ]


def _to_option(name: str, field: Any) -> click.Option:
    # `str | None`: the option may be missing.
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType] or [field.annotation]
    kind = field.annotation if get_origin(field.annotation) in (Literal, tuple) else kinds[0]
    default = None if field.is_required() else field.default
    settings: dict[str, Any] = {"help": " ".join((field.description or "").split())}
    word = f"--{name.replace('_', '-')}"
    if field.is_required():
        settings["required"] = True
    if kind is bool:
        return click.Option([word], is_flag=True, default=default, **settings)
    if get_origin(kind) is tuple:
        return click.Option([word], metavar="A,B,…", default=",".join(default or ()), **settings)
    types: dict[Any, Any] = {int: click.INT, float: click.FLOAT, Path: click.Path(path_type=Path)}
    if get_origin(kind) is Literal:
        settings["type"] = click.Choice([str(one) for one in get_args(kind)])
    else:
        settings["type"] = types.get(kind, click.STRING)
    # An empty or missing default has its meaning in the help.
    if default not in (None, ""):
        settings |= {"default": default, "show_default": True}
    return click.Option([word], **settings)
