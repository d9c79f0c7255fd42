"""The commands that plan and run searches and show their trials. Heavy imports are inside them, as in `main`."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from kmcl_platform.cli.options import check_new_file, open_store, store_options, store_words, write_text_file
from kmcl_platform.errors import ResourceError
from kmcl_platform.messages import shell_command, show_path

EXIT_INTERRUPTED = 130
"""128 + 2: the code that a shell gives a process which SIGINT (2) has ended."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--address", help="Ray cluster to run on (auto, HOST:PORT) [default: this machine].")
@click.option("--inline", is_flag=True, help="Train in this process, one trial after the other, without Ray.")
@store_options
def search(file: Path, address: str | None, inline: bool, folder: Path, tracking_uri: str | None) -> None:
    """Run the search that FILE describes, or continue it. A file with arms: one search after another."""
    from kmcl_platform.search.run.run_search import run_search

    words = ["kmcl", "search", file, *(["--inline"] if inline else [])]
    run = partial(run_search, address=address, inline=inline)
    _show_search(run, file, folder, tracking_uri, f"{shell_command(words)}{store_words(folder)}")


@click.command()
@click.argument("name")
@click.option("--address", help="Ray cluster to run on (auto, HOST:PORT) [default: this machine].")
@click.option("--inline", is_flag=True, help="Train in this process, one trial after the other, without Ray.")
@store_options
def resume(name: str, address: str | None, inline: bool, folder: Path, tracking_uri: str | None) -> None:
    """Continue search NAME from the file in its record. For a file with arms, NAME is the search of one arm."""
    from kmcl_platform.search.run.run_search import resume_search

    words = ["kmcl", "resume", name, *(["--inline"] if inline else [])]
    run = partial(resume_search, address=address, inline=inline)
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
    from kmcl_platform.search.run.run_search import train_base

    words = ["kmcl", "train", file, *(["--values", values] if values else []), *(["--inline"] if inline else [])]
    run = partial(train_base, values=values, address=address, inline=inline)
    _show_search(run, file, folder, tracking_uri, f"{shell_command(words)}{store_words(folder)}")


def _show_search(run: Any, what: Path | str, folder: Path, tracking_uri: str | None, again: str) -> None:
    """Run a search, and print how it ended; if it was stopped, print how to continue."""
    console = Console()
    store = open_store(folder, tracking_uri)
    try:
        summaries = run(what, store, console)
    except KeyboardInterrupt:
        # A Ctrl-C before Tune has begun, or a second one. One during Tune gives a summary that is `interrupted`.
        click.echo(f"stopped; to go on: {again}", err=True)
        sys.exit(EXIT_INTERRUPTED)
    finalists = False
    for summary in summaries:
        # It is the last one, because no further arm is started.
        if summary.interrupted:
            click.echo(f"search {summary.search}: stopped; nothing is lost. To go on: {again}")
            sys.exit(EXIT_INTERRUPTED)
        if summary.already_finished:
            click.echo(f"search {summary.search}: already finished, nothing left to run ({summary.reason})")
        else:
            click.echo(f"search {summary.search}: finished ({summary.reason})")
        # A trial that was trained again is shown in the verdict, or among the finalists.
        if not summary.retrains:
            finalists |= _print_leaderboard(console, store, summary.search)
        if summary.seconds:
            phases = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in summary.seconds.items())
            console.print(f"took {sum(summary.seconds.values()):.0f} s: {phases}", highlight=False)
    searches = [summary.search for summary in summaries if not summary.retrains]
    if len(searches) > 1:
        _print_comparison(console, store, searches)
    if not finalists:
        _print_verdict(store, {summary.retrains: summary.search for summary in summaries if summary.retrains})
    for name in searches:
        click.echo(f"next: {shell_command(['kmcl', 'promote', name])}{store_words(folder)}")


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
    from kmcl_platform.search.plan.plan import run_plan
    from kmcl_platform.search.plan.plan_table import to_json, to_table

    # Progress goes to stderr, so that stdout has nothing but the JSON.
    plans = run_plan(
        file,
        open_store(folder, tracking_uri),
        Console(stderr=True),
        num_steps=steps,
        address=address,
        archives=archives,
    )
    if as_json:
        click.echo(to_json(plans))
    else:
        for one in plans:
            Console().print(to_table(one))
    # The first refusal is the error; the output above has all of them.
    for refusal in [one.refusal for one in plans if one.refusal]:
        raise ResourceError(f"{show_path(file)}: {refusal}")
    if not as_json:
        click.echo(f"next: {shell_command(['kmcl', 'search', file])}{store_words(folder)}")


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@store_options
def leaderboard(name: str, as_json: bool, folder: Path, tracking_uri: str | None) -> None:
    """Show the trials of search NAME, best first."""
    store = open_store(folder, tracking_uri)
    if as_json:
        from kmcl_platform.tracking.comparison.leaderboard_text import to_json
        from kmcl_platform.tracking.runs.leaderboard import read_leaderboard

        click.echo(to_json(read_leaderboard(store, name)))
    else:
        _print_leaderboard(Console(), store, name)


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
    from kmcl_platform.tracking.comparison.trial_file import trial_file

    if out is not None:
        check_new_file("--out", out, ".yaml", "a search file", overwrite=overwrite)
    content = trial_file(open_store(folder, tracking_uri), name, trial).decode()
    if out is None:
        click.echo(content, nl=False)
    else:
        write_text_file(out, content)
        click.echo(f"next: {shell_command(['kmcl', 'train', out])}{store_words(folder)}")


@click.command()
def schema() -> None:
    """Print the JSON schema of search files, with which an editor completes and checks them."""
    from kmcl_platform.config.search_file_reader import search_file_schema

    click.echo(json.dumps(search_file_schema(), indent=1))


def _print_leaderboard(console: Console, store: Any, search_name: str) -> bool:
    """Print the trials of a search, and its finalists; returns whether it has finalists."""
    from kmcl_platform.search.study.checkpoint_retention import measure_checkpoints
    from kmcl_platform.tracking.comparison.baselines import compare_leaderboard
    from kmcl_platform.tracking.comparison.finalists import read_finalists
    from kmcl_platform.tracking.comparison.leaderboard_text import finalists_table, to_table
    from kmcl_platform.tracking.runs.leaderboard import read_leaderboard

    board = read_leaderboard(store, search_name)
    console.print(to_table(board))
    finalists = read_finalists(board)
    if finalists:
        console.print(finalists_table(finalists))
        for line in finalists.sentences():
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    if comparison := compare_leaderboard(board):
        console.print(str(comparison), highlight=False, markup=False, soft_wrap=True)
    held = measure_checkpoints(store, search_name)
    console.print(f"checkpoints: {held.trials} kept, {held.bytes / 1e6:.1f} MB", highlight=False)
    return finalists is not None


def _print_comparison(console: Console, store: Any, searches: list[str]) -> None:
    """Print the searches of a file's arms in one table, in the file's order."""
    from rich.table import Table

    from kmcl_platform.tracking.runs.leaderboard import count_outcomes, read_leaderboard

    boards = [read_leaderboard(store, name) for name in searches]
    table = Table("arm", f"best {boards[0].metric}", "finished trials", box=None)
    for board in boards:
        best = next((row.objective for row in board.rows if row.rank == 1), None)
        table.add_row(board.search, _shown(best), str(count_outcomes(board.rows).get("completed", 0)))
    console.print(table)


def _print_verdict(store: Any, retrained: dict[str, str]) -> None:
    """Print how the best trials of the arms compare on new seeds; nothing if they were not trained again."""
    if retrained:
        from kmcl_platform.tracking.comparison.arms import compare_retrained

        for comparison in compare_retrained(store, retrained):
            click.echo(f"verdict: {comparison}")


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


COMMANDS = (search, resume, train, plan, leaderboard, export_config, schema)
