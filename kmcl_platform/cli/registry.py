"""The commands of registered models: promote one, roll back to the former one, show the history.

Heavy imports are inside the functions.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from kmcl_platform.cli.options import open_store, store_options, store_words
from kmcl_platform.messages import count_of, shell_command

if TYPE_CHECKING:
    from kmcl_platform.registry.model.error_detection import ErrorDetection

EXIT_GATE_FAILED = 3
"""Not 2, the code of a user's error: here the command was right, and the model was not good enough."""


@click.command()
@click.argument("name")
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="Search file with the `promotion` and `decision` to use [default: the one that the search last ran with].",
)
@click.option("--force", metavar="REASON", default="", help="Promote even if gates fail; the history keeps the reason.")
@store_options
def promote(name: str, file: Path | None, force: str, folder: Path, tracking_uri: str | None) -> None:
    """Compare the best trial of search NAME with the champion on the sealed test split; promote it if it is better.

    Exit code 3: a gate failed, and nothing was moved.
    """
    from kmcl_platform.registry.promotion.promote import promote as run_promotion

    store = open_store(folder, tracking_uri)
    result = run_promotion(store, name, file=file, force=force.strip())
    console = Console(highlight=False, soft_wrap=True)
    for gate in result.gates:
        console.print(f"gate {'passed' if gate.passed else 'FAILED'}: {gate.gate} {gate.text}", markup=False)
    if result.error_detection:
        console.print(_describe(result.error_detection), markup=False)
    opened = sum(result.openings.values())
    others = f", {opened - result.openings.get(name, 0)} of them by other searches" if len(result.openings) > 1 else ""
    console.print(f"the test split of this data was opened for {count_of(opened, 'model')}{others}")
    if not result.promoted:
        stays = f"version {result.version} stays the champion" if result.version else "there is no champion"
        console.print(f"trial {result.row.number} is not promoted; {stays}")
        sys.exit(EXIT_GATE_FAILED)
    console.print("already the champion:" if result.already else "promoted:")
    console.print(f"  best trial   {result.row.number} of search {name} ({result.row.epochs} epochs)")
    console.print(f"  val/mAP      {_shown(result.metrics.get('val/mAP'))}")
    console.print(f"  test/mAP     {_shown(result.metrics.get('test/mAP'))}")
    console.print(f"  champion     {result.uri} (version {result.version})")
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
    from kmcl_platform.registry.model.registry_errors import registry_errors
    from kmcl_platform.registry.model.versions import download_package
    from kmcl_platform.registry.promotion.alias_moves import rollback as roll_back
    from kmcl_platform.tracking.database import connect_to_read, locked

    store = open_store(folder, tracking_uri)
    client = connect_to_read(store)
    # The version's files are downloaded first, as a check: an alias must not move to a version that cannot be loaded.
    with registry_errors(store, model), locked(store):
        made = roll_back(client, model, reason.strip(), check=lambda version: download_package(client, version))
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

    from kmcl_platform.registry.model.registry_errors import registry_errors
    from kmcl_platform.registry.promotion.alias_moves import read_history
    from kmcl_platform.tracking.database import connect_to_read

    store = open_store(folder, tracking_uri)
    client = connect_to_read(store)
    with registry_errors(store, model):
        moves = read_history(client, model)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in moves], indent=2, ensure_ascii=False))
        return
    table = Table("time (UTC)", "who", "what", "from", "to", "why", box=None)
    for one in moves:
        # Whole seconds.
        table.add_row(one.time.partition(".")[0], one.user, one.kind, one.before or "-", one.after, one.reason)
    Console().print(table)


def _describe(detection: "ErrorDetection") -> str:
    """How well entropy and uncertainty find wrong decisions, and whether predictions show the uncertainty."""
    text = f"wrong decisions on validation, found by entropy: {detection.entropy or 'undefined'}"
    if detection.uncertainty is None:
        return text
    shown = "shown" if detection.shows_uncertainty else "not above 0.5, so predictions leave it out"
    return f"{text}; by the kernels' uncertainty: {detection.uncertainty} ({shown})"


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


COMMANDS = (promote, rollback, history)
