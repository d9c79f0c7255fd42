"""The commands of registered models: promote one, roll back to the former one, show the history.

Heavy imports are inside the functions.
"""

import sys
from pathlib import Path

import click
from rich.console import Console

from kmcl_platform.cli.options import open_store, store_options, store_words
from kmcl_platform.messages import shell_command

EXIT_GATE_FAILED = 3
"""Not 2, the code of a user's error: here the command was right, and the model was not good enough."""


@click.command()
@click.argument("name")
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="Search file with the `promotion` and `decision` to use [default: the one that the search last ran with].",
)
@click.option(
    "--trial", type=click.IntRange(min=0), help="Promote this trial and not the best one; it must have run to the end."
)
@click.option(
    "--ensemble",
    type=click.IntRange(min=2),
    metavar="N",
    help="Promote the N best trials together as one model: the mean of their logits. It scores better, and takes N "
    "times as long for an image.",
)
@click.option(
    "--prefer",
    metavar="BOUND",
    help="Of a search with several objectives or constraints: promote the best trial that keeps a bound, such as "
    "`latency_ms<5`.",
)
@click.option("--force", metavar="REASON", default="", help="Promote even if gates fail; the history keeps the reason.")
@store_options
def promote(
    name: str,
    file: Path | None,
    trial: int | None,
    ensemble: int | None,
    prefer: str | None,
    force: str,
    folder: Path,
    tracking_uri: str | None,
) -> None:
    """Compare the best trial of search NAME with the champion on the sealed test split; promote it if it is better.

    Exit code 3: a gate failed, and nothing was moved.
    """
    from kmcl_platform import promote as run_promotion

    store = open_store(folder, tracking_uri)
    result = run_promotion(
        name, store=store, file=file, force=force, trial=trial, ensemble=ensemble or 1, prefer=prefer
    )
    result.show()
    if not result.promoted:
        sys.exit(EXIT_GATE_FAILED)
    console = Console(highlight=False, soft_wrap=True)
    # A command that works without changes: with the built-in digits, the store has images to try.
    samples = sorted((store.data / "digits_samples").glob("*.png"))
    image = _relative(samples[0]) if samples else "IMAGE"
    console.print(f"next: {shell_command(['kmcl', 'predict', result.uri, image])}{store_words(folder)}", markup=False)
    console.print(f"      kmcl ui{store_words(folder)}   shows search {name} and the model in MLflow", markup=False)


@click.command()
@click.argument("model")
@click.option("--reason", default="", help="For the history.")
@store_options
def rollback(model: str, reason: str, folder: Path, tracking_uri: str | None) -> None:
    """Make the former champion of MODEL the champion again; a second rollback undoes the first."""
    from kmcl_platform import rollback as roll_back

    made = roll_back(model, store=open_store(folder, tracking_uri), reason=reason)
    click.echo(f"model {model}: version {made.after} is the champion again, version {made.before} is `previous`")


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@store_options
def history(model: str, as_json: bool, folder: Path, tracking_uri: str | None) -> None:
    """Show every move of MODEL's champion, the first one first."""
    import json
    from dataclasses import asdict

    from rich.table import Table

    from kmcl_platform import history as read_history
    from kmcl_platform.shown import open_console

    moves = read_history(model, store=open_store(folder, tracking_uri))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in moves], indent=2, ensure_ascii=False))
        return
    table = Table("time (UTC)", "who", "what", "from", "to", "why", box=None)
    for one in moves:
        # Whole seconds.
        table.add_row(one.time.partition(".")[0], one.user, one.kind, one.before or "-", one.after, one.reason)
    open_console().print(table)


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


COMMANDS = (promote, rollback, history)
