"""Registered models: find them by URI, fetch their files."""

import re
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

from kmcl_platform.errors import RegistryError
from kmcl_platform.messages import show_value
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

NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's error codes for a name that it does not know; an unknown alias is an invalid parameter to it."""

# Nine digits: MLflow's database fails with an internal error at numbers beyond its integers.
_URI = re.compile(r"(?:models:/)?(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d{1,9}))")


def find_alias(client: "MlflowClient", model: str, alias: str) -> "ModelVersion | None":
    """The version that has an alias. None: no version has it."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in NOT_FOUND:
            return None
        raise


def find_version(client: "MlflowClient", uri: str) -> "ModelVersion":
    """Find a version by its URI.

    Args:
        client: connected to the store.
        uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or the same without `models:/`.

    Raises:
        RegistryError: the URI has another form, or there is no such version.
    """
    from mlflow.exceptions import MlflowException

    match = _URI.fullmatch(uri)
    if match is None:
        raise RegistryError(f"model: got {show_value(uri)}; valid: models:/NAME@ALIAS or models:/NAME/VERSION")
    try:
        if match["alias"]:
            return client.get_model_version_by_alias(match["name"], match["alias"])
        return client.get_model_version(match["name"], match["version"])
    except MlflowException as error:
        if error.error_code not in NOT_FOUND:
            raise
        raise RegistryError(
            f"model: got {show_value(uri)}, which is not in the registry; valid: a version or alias of "
            f"{known_models(client)}"
        ) from None


def known_models(client: "MlflowClient") -> str:
    """The names of the registered models, for messages."""
    names = sorted(model.name for model in client.search_registered_models())
    return ", ".join(names) or "a model that `kmcl promote` registered (there is none yet)"


def download_package(client: "MlflowClient", version: "ModelVersion") -> Path:
    """A local copy of a version's files, or the files themselves if they are local.

    Raises:
        RegistryError: the files are gone or cannot be fetched, or the weights were changed since the registration.
    """
    from mlflow.artifacts import download_artifacts

    try:
        with as_default(client):
            package = Path(download_artifacts(artifact_uri=version.source, tracking_uri=client.tracking_uri))
    except Exception as error:  # Each kind of artifact store raises other errors, without a common base class.
        reason = " ".join(str(error).split())
        raise RegistryError(
            f"model {version.name!r}, version {version.version}: its files cannot be fetched from {version.source} "
            f"({reason}); valid: a version whose files exist"
        ) from error
    check_weights(package, version)
    return package


def check_weights(package: Path, version: "ModelVersion") -> None:
    """Compare a version's weights with those that were registered; older versions have no tag to compare with.

    Raises:
        RegistryError: the SHA-256 is another one.
    """
    registered = version.tags.get(WEIGHTS_TAG)
    if registered is not None:
        weights = package / PACKAGED_MODEL / WEIGHTS
        found = f"SHA-256 {hash_file(weights)}" if weights.exists() else "no file"
        valid = f"SHA-256 {registered}"
        if found != valid:
            raise RegistryError(
                f"{weights}: got {found}; valid: {valid}, as version {version.version} of {version.name!r} was "
                "registered: the file was changed"
            )


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()
