"""Registered models: find them by URI, fetch their files."""

import re
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.model.schema import WEIGHTS
from kmcl_platform.tracking.database import as_default

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
"""The alias of the version that is in use."""

RUN_TAG = "kmcl.run"
"""Tag of a version: the MLflow run that trained it."""

WEIGHTS_TAG = "kmcl.weights_sha256"
"""Tag of a version: the SHA-256 of its weights."""

PACKAGED_MODEL = Path("artifacts", "model")
"""Within a version's files: the folder that `read_predictor` reads."""

_URI = re.compile(r"(?:models:/)?(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")


def find_alias(client: "MlflowClient", model: str, alias: str) -> "ModelVersion | None":
    """The version that an alias stands at, or none."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def find_version(client: "MlflowClient", uri: str) -> "ModelVersion":
    """Look a model up.

    Args:
        client: connected to the store.
        uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or the same without `models:/`.

    Raises:
        RegistryError: the URI has another form, or names no version.
    """
    from mlflow.exceptions import MlflowException

    match = _URI.fullmatch(uri)
    if match is None:
        raise RegistryError(f"model: got {uri!r}; valid: models:/NAME@ALIAS or models:/NAME/VERSION")
    try:
        if match["alias"]:
            return client.get_model_version_by_alias(match["name"], match["alias"])
        return client.get_model_version(match["name"], match["version"])
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        known = ", ".join(sorted(model.name for model in client.search_registered_models())) or "none"
        raise RegistryError(f"model: {uri!r} is not in the registry; valid: a version or alias of: {known}") from None


def download_package(client: "MlflowClient", version: "ModelVersion") -> Path:
    """A local copy of a version's files, or the files themselves where they are local.

    Raises:
        RegistryError: the weights are not those that were registered.
    """
    from mlflow.artifacts import download_artifacts

    with as_default(client):
        package = Path(download_artifacts(artifact_uri=version.source, tracking_uri=client.tracking_uri))
    check_weights(package, version)
    return package


def check_weights(package: Path, version: "ModelVersion") -> None:
    """
    Raises:
        RegistryError: the weights' SHA-256 is not the one that stands in the registry.
    """
    registered = version.tags.get(WEIGHTS_TAG)
    # Versions of before there was the tag are taken as they are.
    if registered is not None:
        weights = package / PACKAGED_MODEL / WEIGHTS
        found = hash_file(weights) if weights.exists() else "no file"
        if found != registered:
            raise RegistryError(
                f"{weights}: got SHA-256 {found[:12]}…; valid: {registered[:12]}…, as version {version.version} of "
                f"{version.name!r} was registered: the file was changed"
            )


def hash_file(path: Path) -> str:
    """A file's SHA-256."""
    with path.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()
