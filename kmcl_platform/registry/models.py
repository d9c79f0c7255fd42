"""Registered models: find them by URI, fetch their files, predict with them."""

import re
from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from kmcl_platform.config.store import Store
from kmcl_platform.errors import DataError, RegistryError
from kmcl_platform.registry.schema import IMAGE_COLUMN, WEIGHTS
from kmcl_platform.tracking.database import as_default, connect_to_read

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


def predict_images(store: Store, uri: str, images: Sequence[Path]) -> pd.DataFrame:
    """Load a registered model the way any MLflow user would, and score image files.

    Returns:
        One row per image; columns as in `registry.schema`.

    Raises:
        RegistryError: there is no such model.
        DataError: a file is missing or is not an image.
    """
    encoded = []
    for path in images:
        try:
            encoded.append(path.read_bytes())
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); valid: an image file") from None
    client = connect_to_read(store)
    version = find_version(client, uri)
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(download_package(client, version)))
    for path, data in zip(images, encoded, strict=True):
        _check_image(path, data)
    table: pd.DataFrame = model.predict(pd.DataFrame({IMAGE_COLUMN: encoded}))
    return table


def _check_image(path: Path, data: bytes) -> None:
    import io

    from PIL import Image

    try:
        Image.open(io.BytesIO(data)).verify()
    except Exception as error:  # Pillow's decoders raise errors of many kinds; all mean the same to the user.
        raise DataError(
            f"{path}: not an image that can be decoded ({type(error).__name__}); valid: JPEG, PNG, …"
        ) from None
