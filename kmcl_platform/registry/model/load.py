"""Prediction with a registered model: load it, score a few images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kmcl_platform.config.store import Store
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path
from kmcl_platform.registry.model.model_folder import read_predictor
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.registry.model.registry_errors import registry_errors
from kmcl_platform.registry.model.schema import FEATURES_COLUMN
from kmcl_platform.registry.model.versions import PACKAGED_MODEL, download_package, find_version
from kmcl_platform.tracking.database import connect_to_read


@dataclass(frozen=True)
class RegisteredModel:
    """A loaded version of a registered model.

    Attributes:
        uri: `models:/NAME/VERSION`.
        predictor: the model.
    """

    uri: str
    predictor: Predictor


def load_registered(store: Store, uri: str) -> RegisteredModel:
    """Load a registered model by its URI.

    Raises:
        RegistryError: there is no such model, or its files are gone, were changed, or are not a model of this platform.
        StoreError: the store does not answer.
    """
    client = connect_to_read(store)
    with registry_errors(store, uri):
        version = find_version(client, uri)
        package = download_package(client, version)
    # The number instead of the alias, which may move while the model is in use.
    return RegisteredModel(f"models:/{version.name}/{version.version}", read_predictor(package / PACKAGED_MODEL))


def check_takes_images(model: RegisteredModel) -> None:
    """
    Raises:
        DataError: the model was made from a user's own features, and takes these.
    """
    if model.predictor.takes_features:
        raise DataError(
            f"{model.uri}: takes {model.predictor.model.num_inputs} features (embeddings) and no images; valid: a "
            f"table with the column {FEATURES_COLUMN!r} in MLflow (mlflow.pyfunc.load_model, mlflow models serve)"
        )


def predict_images(store: Store, uri: str, images: Sequence[Path]) -> pd.DataFrame:
    """Score a few image files.

    Returns:
        One row for each image; the output columns of `registry.model.schema`.

    Raises:
        RegistryError: as `load_registered`.
        DataError: a file does not exist or is not an image.
    """
    # All files are read before the model is loaded, so that a wrong path is reported within moments.
    encoded = []
    for path in images:
        try:
            encoded.append(path.read_bytes())
        except OSError as error:
            raise DataError(f"{show_path(path)}: cannot be read ({error.strerror}); valid: an image file") from None
    model = load_registered(store, uri)
    check_takes_images(model)
    predictor = model.predictor
    parts = []
    # One image at a time, so that an error can name its file.
    for path, data in zip(images, encoded, strict=True):
        try:
            prediction = predictor.predict([data])
        except DataError as error:
            raise DataError(f"{show_path(path)}: {str(error).removeprefix('image 0: ')}") from None
        parts.append(pd.DataFrame(predictor.to_columns(prediction)))
    return pd.concat(parts, ignore_index=True)
