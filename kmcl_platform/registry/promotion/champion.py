"""The champion that a candidate is compared with, checked first: its run and its files may have been deleted."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kmcl_platform.errors import RegistryError
from kmcl_platform.messages import shell_command
from kmcl_platform.registry.model.versions import CHAMPION, NOT_FOUND, RUN_TAG, download_package
from kmcl_platform.tracking.runs.names import NUMBER_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class Champion:
    """The version in use, which has a run and files.

    Attributes:
        version: its number.
        run_id: the run that trained it; of an ensemble, its own.
        number: its trial's number; of an ensemble, those of its members, such as `6-13-1`.
        package: its files.
    """

    version: str
    run_id: str
    number: str
    package: Path


def check_champion(client: "MlflowClient", version: "ModelVersion") -> Champion:
    """Make sure that a candidate can be compared with the champion.

    Args:
        client: connected to the store.
        version: the one with the alias `champion`.

    Raises:
        RegistryError: `kmcl promote` did not register it, its run was deleted, or its files are gone or were changed.
    """
    tags = version.tags
    missing = [tag for tag in (RUN_TAG, NUMBER_TAG) if tag not in tags]
    if missing:
        raise _cannot_compare(version, f"has no tag {missing[0]}, so it was not registered by `kmcl promote`")
    if not _run_exists(client, tags[RUN_TAG]):
        raise _cannot_compare(version, f"was trained by run {tags[RUN_TAG]}, which was deleted")
    try:
        # Last, because the files may have to be fetched from another machine.
        package = download_package(client, version)
    except RegistryError as error:
        raise _cannot_compare(version, f"cannot be loaded: {error}") from error
    return Champion(str(version.version), tags[RUN_TAG], tags[NUMBER_TAG], package)


def _run_exists(client: "MlflowClient", run_id: str) -> bool:
    """Whether a run can be written to; MLflow keeps a deleted run until `mlflow gc`, for reading only."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code in NOT_FOUND:
            return False
        raise


def _cannot_compare(version: "ModelVersion", problem: str) -> RegistryError:
    back = shell_command(["kmcl", "rollback", version.name])
    return RegistryError(
        f"model {version.name!r}: its {CHAMPION}, version {version.version}, {problem}; valid: `{back}` to another "
        "champion, or --force REASON to promote without a comparison"
    )
