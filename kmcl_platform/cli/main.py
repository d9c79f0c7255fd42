"""The command line. Heavy imports are inside the commands, so that --help is instant."""

from pathlib import Path
from typing import Any

import click

from kmcl_platform import __version__
from kmcl_platform.cli import archive, cluster, data, init, predict, registry, search
from kmcl_platform.cli.options import check_new_file, open_store, store_options, store_words, write_text_file
from kmcl_platform.errors import KmclError
from kmcl_platform.messages import mask_passwords, shell_command, show_path

EXIT_USER_ERROR = 2


class _WrongWords(click.ClickException):
    """A mistake in the words of the command line, as one line. Click itself prints three."""

    exit_code = EXIT_USER_ERROR

    def __init__(self, error: click.UsageError) -> None:
        command = error.ctx.command_path if error.ctx else "kmcl"
        message = " ".join(error.format_message().split()).rstrip(".")
        # Click's name of its type says nothing to a user.
        message = message.replace("not a valid integer range", "not a whole number")
        super().__init__(f"{message} (see {command} --help)")

    def show(self, file: Any = None) -> None:
        click.echo(f"kmcl: {self.message}", file=file, err=True)


class _Group(click.Group):
    """Prints a user's error as one line and exits with 2; any other exception keeps its traceback."""

    def make_context(self, *words: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*words, **extra)
        # A command without words prints its help.
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise _WrongWords(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise _WrongWords(error) from None
        except KmclError as error:
            click.echo(f"kmcl: {error}", err=True)
            ctx.exit(EXIT_USER_ERROR)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kmcl")
def main() -> None:
    """Hyperparameter search for KMCL multilabel image classifiers: search, compare, promote, predict."""


@main.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Path of the page [default: NAME-report.html].")
@click.option("--overwrite", is_flag=True, help="Replace the page of --out if it exists.")
@store_options
def report(name: str, out: Path | None, overwrite: bool, folder: Path, tracking_uri: str | None) -> None:
    """Write the report of search NAME as one HTML page; the search's run in MLflow gets it too."""
    # A name of our own: the page is an older one of the same search.
    overwrite = overwrite or out is None
    out = out or Path(f"{name}-report.html")
    check_new_file("--out", out, ".html", "a page", overwrite=overwrite)
    write_text_file(out, open_store(folder, tracking_uri).report(name).html)
    click.echo(f"written: {show_path(out)}, and report/report.html of the search's run (kmcl ui{store_words(folder)})")


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@store_options
def ui(port: int, folder: Path, tracking_uri: str | None) -> None:
    """Serve MLflow's own UI for the store, on this machine only, and print links into it."""
    from kmcl_platform import serve_ui

    serve_ui(store=open_store(folder, tracking_uri), port=port, say=click.echo)


@main.command()
@click.option("--fix", is_flag=True, help="Repair what can be repaired, after listing it.")
@click.option("--address", help="Ray's job server, http://HOST:8265: examine this cluster instead of the store.")
@store_options
def doctor(fix: bool, address: str | None, folder: Path, tracking_uri: str | None) -> None:
    """Find what dead processes have left in the store: open runs and trials, checkpoints of no trial.

    With --address, find the problems of a cluster: another version of Ray, reservations of ended jobs.
    """
    from kmcl_platform import doctor as examine

    store = open_store(folder, tracking_uri)
    with examine(store=store, address=address, repair=fix) as found:
        found.show()
        if fix:
            for finding in found.repair():
                click.echo(f"done: {finding.remedy}: {finding.problem}")
        elif found.repairable:
            place = f" {shell_command(['--address', mask_passwords(address)])}" if address else store_words(folder)
            click.echo(f"next: kmcl doctor --fix{place}")


for module in (init, search, cluster, data, registry, predict, archive):
    for command in module.COMMANDS:
        main.add_command(command)


if __name__ == "__main__":
    main()
