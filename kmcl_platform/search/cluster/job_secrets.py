"""Secrets of a submitted search: environment variables that only its driver gets.

Their names are on the command line, their values in the environment. They are sent as a file in the job's package: the
variables of a runtime environment would be visible in the list of jobs and in the dashboard. The package stays in the
cluster's memory until Ray removes it.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from kmcl_platform.errors import ConfigError
from kmcl_platform.messages import mask_passwords, show_value

FILE = "secrets.json"


def read_secrets(names: Sequence[str]) -> dict[str, str]:
    """The values of environment variables.

    Raises:
        ConfigError: one is not set.
    """
    for name in names:
        # An empty value is refused too: it would only show later, as a login that fails.
        if not os.environ.get(name):
            raise ConfigError(
                f"--secret: got {show_value(name)}, which is not set; valid: the name of an environment variable"
            )
    return {name: os.environ[name] for name in names}


def refuse_password(option: str, uri: str | None) -> None:
    """Refuse an address with a password in it, because addresses are shown with the job.

    Raises:
        ConfigError: the address has a password.
    """
    if uri and mask_passwords(uri) != uri:
        raise ConfigError(
            f"{option}: got an address with a password in it; valid: the address without it, and --secret NAME for "
            "MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, PGPASSWORD or the variable that holds it"
        )


def write_secrets(folder: Path, values: dict[str, str]) -> None:
    """Put secrets into a job's package, in a file that only its owner can read."""
    path = folder / FILE
    path.touch(mode=0o600)  # Before the content: the file is never readable for others.
    path.write_text(json.dumps(values))


def take_secrets(folder: Path) -> None:
    """Move the secrets of a package, if it has any, into the environment of this process, and delete their file."""
    path = folder / FILE
    if path.is_file():
        # Deleted last: a kill between the two lines leaves the file for another try.
        os.environ.update(json.loads(path.read_text()))
        path.unlink()
