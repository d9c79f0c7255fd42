"""Secrets of a submitted search: named on the command line, taken from the environment, seen by the driver alone.

They travel as a file in the job's package. A runtime environment's variables would be shown to everyone who may list
jobs, by the dashboard too; the package is read by the job and stays in the cluster's memory until Ray drops it.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from kmcl_platform.errors import ConfigError

FILE = "secrets.json"


def read_secrets(names: Sequence[str]) -> dict[str, str]:
    """The values of environment variables.

    Raises:
        ConfigError: one is not set.
    """
    for name in names:
        if not os.environ.get(name):
            raise ConfigError(f"--secret: got {name!r}, which is not set; valid: the name of an environment variable")
    return {name: os.environ[name] for name in names}


def refuse_password(option: str, uri: str | None) -> None:
    """Refuse an address with a password in it: it would be shown with the job.

    Raises:
        ConfigError: there is one.
    """
    if uri and urlsplit(uri).password:
        raise ConfigError(
            f"{option}: got an address with a password in it; valid: the address without it, and --secret NAME for "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD or whatever variable holds it"
        )


def write_secrets(folder: Path, values: dict[str, str]) -> None:
    """Put them into a job's package, readable for its owner only."""
    path = folder / FILE
    path.touch(mode=0o600)
    path.write_text(json.dumps(values))


def take_secrets(folder: Path) -> None:
    """Move a package's secrets, if it has any, into this process's environment."""
    path = folder / FILE
    if path.is_file():
        os.environ.update(json.loads(path.read_text()))
        path.unlink()
