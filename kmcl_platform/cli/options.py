"""The options that say where a store is, shared by the commands."""

import os
from pathlib import Path
from typing import Any

import click

DEFAULT_STORE = "kmcl_store"


def store_options(command: Any) -> Any:
    """Give a command `--store` and `--tracking-uri`."""
    command = click.option(
        "--tracking-uri",
        envvar="KMCL_TRACKING_URI",
        help="MLflow tracking server or database [default: SQLite in the store].",
    )(command)
    return click.option(
        "--store",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_STORE,
        show_default=True,
        envvar="KMCL_STORE",
        help="Folder that keeps studies, runs, checkpoints and models.",
    )(command)


def open_store(folder: Path, tracking_uri: str | None) -> Any:
    """The store that they name."""
    from kmcl_platform.config.store import open_store as open_places

    # Not an option: only a cluster's head keeps its studies elsewhere, and there it is said once for all commands.
    return open_places(folder, tracking_uri, os.environ.get("KMCL_STUDY_URL"))


def store_words(folder: Path) -> str:
    """What has to be added to a command for it to find the same store."""
    return "" if folder == Path(DEFAULT_STORE) else f" --store {folder}"
