"""The commands that plan and run searches and show their trials. Heavy imports are inside them, as in `main`."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from kmcl_platform.cli.options import (
    changed_plugins_option,
    check_new_file,
    extend_option,
    open_store,
    store_options,
    store_words,
    write_text_file,
)
from kmcl_platform.errors import ResourceError
from kmcl_platform.messages import shell_command, show_path

EXIT_NOTHING_COMPLETED = 4
"""A search has ended, and each of its trials failed, diverged or was stopped early."""

EXIT_INTERRUPTED = 130
"""128 + 2: the code that a shell gives a process which SIGINT (2) has ended."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--address", help="Ray cluster to run on (auto, HOST:PORT) [default: this machine].")
@click.option("--inline", is_flag=True, help="Train in this process, one trial after the other, without Ray.")
@changed_plugins_option
@extend_option
@store_options
def search(
    file: Path,
    address: str | None,
    inline: bool,
    allow_changed_plugins: bool,
    extend: bool,
    folder: Path,
    tracking_uri: str | None,
) -> None:
    """Run the search that FILE describes, or continue it. A file with arms: one search after another."""
    from kmcl_platform import search as run_search

    words = ["kmcl", "search", file, *(["--inline"] if inline else [])]
    run = partial(
        run_search, address=address, inline=inline, allow_changed_plugins=allow_changed_plugins, extend=extend
    )
    _show_search(run, file, folder, tracking_uri, f"{shell_command(words)}{store_words(folder)}")


@click.command()
@click.argument("name")
@click.option("--address", help="Ray cluster to run on (auto, HOST:PORT) [default: this machine].")
@click.option("--inline", is_flag=True, help="Train in this process, one trial after the other, without Ray.")
@changed_plugins_option
@store_options
def resume(
    name: str,
    address: str | None,
    inline: bool,
    allow_changed_plugins: bool,
    folder: Path,
    tracking_uri: str | None,
) -> None:
    """Continue search NAME from the file in its record. For a file with arms, NAME is the search of one arm."""
    from kmcl_platform import resume as resume_search

    words = ["kmcl", "resume", name, *(["--inline"] if inline else [])]
    run = partial(resume_search, address=address, inline=inline, allow_changed_plugins=allow_changed_plugins)
    _show_search(run, name, folder, tracking_uri, f"{shell_command(words)}{store_words(folder)}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--values", type=click.Path(path_type=Path), help="Search file whose base is trained instead.")
@click.option("--address", help="Ray cluster to run on (auto, HOST:PORT) [default: this machine].")
@click.option("--inline", is_flag=True, help="Train in this process, without Ray.")
@store_options
def train(
    file: Path, values: Path | None, address: str | None, inline: bool, folder: Path, tracking_uri: str | None
) -> None:
    """Train the base of FILE alone, as a search with one trial."""
    from kmcl_platform import train as train_base

    words = ["kmcl", "train", file, *(["--values", values] if values else []), *(["--inline"] if inline else [])]
    run = partial(train_base, values=values, address=address, inline=inline)
    _show_search(run, file, folder, tracking_uri, f"{shell_command(words)}{store_words(folder)}")


def _show_search(run: Any, what: Path | str, folder: Path, tracking_uri: str | None, again: str) -> None:
    """Run a search, and print how it ended; if it was stopped, print how to continue."""
    from kmcl_platform import SearchInterrupted

    try:
        result = run(what, store=open_store(folder, tracking_uri))
    except SearchInterrupted as stop:
        stop.result.show()
        click.echo(f"To go on: {again}")
        sys.exit(EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        # A Ctrl-C before the search has begun, or a second one.
        click.echo(f"stopped; to go on: {again}", err=True)
        sys.exit(EXIT_INTERRUPTED)
    result.show()
    completed = [name for name in result.names if result.has_completed(name)]
    for name in result.names:
        if name in completed:
            click.echo(f"next: {shell_command(['kmcl', 'promote', name])}{store_words(folder)}")
        else:
            reasons = f"{shell_command(['kmcl', 'leaderboard', name])}{store_words(folder)}"
            click.echo(f"no trial of {name} has completed; the reason of each: {reasons}")
    if not completed:
        sys.exit(EXIT_NOTHING_COMPLETED)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--steps", type=click.IntRange(1), default=8, show_default=True, help="Timed optimizer steps of each corner."
)
@click.option(
    "--archive",
    "archives",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Show how far the order after each epoch agrees with the end, in an archive of this space.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--address", help="Ray cluster to run on (auto, HOST:PORT) [default: this machine].")
@store_options
def plan(
    file: Path,
    steps: int,
    archives: tuple[Path, ...],
    as_json: bool,
    address: str | None,
    folder: Path,
    tracking_uri: str | None,
) -> None:
    """Measure the corners of the space in FILE, and forecast the time, memory and disk of its search."""
    from kmcl_platform import plan as run_plan

    # Progress goes to stderr, so that stdout has nothing but the JSON.
    plans = run_plan(
        file,
        store=open_store(folder, tracking_uri),
        steps=steps,
        archives=archives,
        address=address,
        console=Console(stderr=True),
    )
    if as_json:
        click.echo(plans.to_json())
    else:
        plans.show()
    # The first refusal is the error; the output above has all of them.
    if plans.refusal:
        raise ResourceError(f"{show_path(file)}: {plans.refusal}")
    if not as_json:
        click.echo(f"next: {shell_command(['kmcl', 'search', file])}{store_words(folder)}")


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@store_options
def leaderboard(name: str, as_json: bool, folder: Path, tracking_uri: str | None) -> None:
    """Show the trials of search NAME, best first."""
    board = open_store(folder, tracking_uri).leaderboard(name)
    if as_json:
        click.echo(board.to_json())
    else:
        board.show()


@click.command("export-config")
@click.argument("name")
@click.option("--trial", type=click.IntRange(0), help="Number of the trial [default: the best one].")
@click.option("--out", type=click.Path(path_type=Path), help="Write a file (*.yaml) instead of printing.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
@store_options
def export_config(
    name: str, trial: int | None, out: Path | None, overwrite: bool, folder: Path, tracking_uri: str | None
) -> None:
    """Print a trial of search NAME as a complete search file, which `kmcl train` and `kmcl search` take."""
    if out is not None:
        check_new_file("--out", out, ".yaml", "a search file", overwrite=overwrite)
    content = open_store(folder, tracking_uri).export_config(name, trial)
    if out is None:
        click.echo(content, nl=False)
    else:
        write_text_file(out, content)
        click.echo(f"next: {shell_command(['kmcl', 'train', out])}{store_words(folder)}")


@click.command()
def schema() -> None:
    """Print the JSON schema of search files, with which an editor completes and checks them."""
    from kmcl_platform import search_file_schema

    click.echo(json.dumps(search_file_schema(), indent=1))


COMMANDS = (search, resume, train, plan, leaderboard, export_config, schema)
