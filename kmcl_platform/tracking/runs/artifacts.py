"""Bytes as artifacts of MLflow's runs."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kmcl_platform.errors import SearchError

if TYPE_CHECKING:
    from mlflow import MlflowClient


def read_artifact(client: "MlflowClient", run_id: str, name: str) -> bytes:
    """The bytes of a run's artifact.

    Raises:
        SearchError: the artifact is missing or cannot be read.
    """
    from mlflow.exceptions import MlflowException

    # MLflow's client writes artifacts to files only.
    with tempfile.TemporaryDirectory() as folder:
        try:
            return Path(client.download_artifacts(run_id, name, folder)).read_bytes()
        except (OSError, MlflowException) as error:
            reason = " ".join(str(error).split())[:300]
            raise SearchError(f"run {run_id}: its artifact {name} cannot be read: {reason}") from None


def log_bytes(client: "MlflowClient", run_id: str, content: bytes, name: str) -> None:
    """Write an artifact; its name may have folders."""
    # Not `log_text`, which would decode and encode the bytes. MLflow takes the artifact's name from the file.
    folder, _, file_name = name.rpartition("/")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / file_name
        path.write_bytes(content)
        client.log_artifact(run_id, str(path), folder or None)
