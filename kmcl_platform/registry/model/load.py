"""Prediction with a registered model: load it, score a few images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kmcl_platform.config.store import Store
from kmcl_platform.errors import DataError
from kmcl_platform.registry.model.prediction_table import to_columns
from kmcl_platform.registry.model.predictor import Predictor, read_predictor
from kmcl_platform.registry.model.versions import PACKAGED_MODEL, download_package, find_version
from kmcl_platform.tracking.database import connect_to_read


@dataclass(frozen=True)
class RegisteredModel:
    """A version of the registry, loaded."""

    uri: str
    """`models:/NAME/VERSION`."""
    predictor: Predictor


def load_registered(store: Store, uri: str) -> RegisteredModel:
    """Load a registered model by its URI.

    Raises:
        RegistryError: there is no such model, or its weights were changed.
    """
    client = connect_to_read(store)
    version = find_version(client, uri)
    predictor = read_predictor(download_package(client, version) / PACKAGED_MODEL)
    return RegisteredModel(f"models:/{version.name}/{version.version}", predictor)


def predict_images(store: Store, uri: str, images: Sequence[Path]) -> pd.DataFrame:
    """Score a few image files.

    Returns:
        One row per image; the output columns of `registry.schema`.

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
    predictor = load_registered(store, uri).predictor
    parts = []
    for path, data in zip(images, encoded, strict=True):
        try:
            scores_NK, uncertainties_NK = predictor.predict([data])
        except DataError as error:
            raise DataError(f"{path}: {str(error).removeprefix('image 0: ')}") from None
        parts.append(pd.DataFrame(to_columns(predictor.class_names, predictor.rule, scores_NK, uncertainties_NK)))
    return pd.concat(parts, ignore_index=True)
