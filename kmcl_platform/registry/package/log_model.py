"""Package a trained model for MLflow: a pyfunc with its signature, input example, requirements and code."""

import importlib.metadata
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.registry.model.model_input import input_columns
from kmcl_platform.registry.model.prediction_table import column_names
from kmcl_platform.registry.model.schema import (
    ARRAY_COLUMN,
    FEATURES_COLUMN,
    IMAGE_COLUMN,
    LABELS_COLUMN,
    PATH_COLUMN,
    RAW_SCORES,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models.signature import ModelSignature

REQUIREMENTS = (
    "huggingface-hub",
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "pyarrow",
    "pydantic",
    "safetensors",
    "timm",
    "torch",
    "torchvision",
)
"""The packages that a server of the model installs. Ray and Optuna are not among them."""

OPTIONAL_REQUIREMENTS = ("torchcodec",)
"""Packages that it installs too, if they are installed here."""


def log_model(
    client: "MlflowClient",
    run_id: str,
    name: str,
    folder: Path,
    manifest: Manifest,
    step: int,
    *,
    example: bytes | np.ndarray,
    shows_uncertainty: bool,
) -> str:
    """Log a model with the run that trained it.

    Args:
        client: connected to the store.
        run_id: the trial's run.
        name: the logged model's name.
        folder: as `write_model` wrote it.
        manifest: the data, for the class names.
        step: the epoch whose weights these are.
        example: an input: an encoded image; or features_D, if the model takes no images.
        shows_uncertainty: whether its predictions have the uncertainty of its kernels.

    Returns:
        The logged model's id; `models:/ID` is its URI.
    """
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    experiment_id = client.get_run(run_id).info.experiment_id
    logged = client.create_logged_model(
        experiment_id, name=name, source_run_id=run_id, model_type="multilabel-image-classifier"
    )
    with tempfile.TemporaryDirectory() as scratch:
        package = f"{scratch}/package"
        # Two steps, because pyfunc.log_model uses MLflow's process-wide tracking URI and active run.
        mlflow.pyfunc.save_model(
            path=package,
            mlflow_model=Model(model_id=logged.model_id),
            # A path: MLflow would pickle an object.
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={"model": str(folder)},
            # The model has its own copy of this code, so it runs where the platform is not installed or has another
            # version.
            code_paths=[str(Path(__file__).parents[2])],
            signature=_signature(manifest.class_names, shows_uncertainty, takes_images=isinstance(example, bytes)),
            input_example=pd.DataFrame(input_columns([example])),
            # The versions of this environment, in which reload parity is measured.
            pip_requirements=_pinned_requirements(),
        )
        client.log_model_artifacts(logged.model_id, package)
    # Only after the upload: until now MLflow shows the model as pending.
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=step)])
    return str(logged.model_id)


def _pinned_requirements() -> list[str]:
    pinned = [f"{package}=={importlib.metadata.version(package)}" for package in REQUIREMENTS]
    for package in OPTIONAL_REQUIREMENTS:
        with suppress(importlib.metadata.PackageNotFoundError):
            pinned.append(f"{package}=={importlib.metadata.version(package)}")
    return pinned


def _signature(class_names: tuple[str, ...], shows_uncertainty: bool, *, takes_images: bool) -> "ModelSignature":
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    numbers, decisions = column_names(class_names, shows_uncertainty=shows_uncertainty)
    if not takes_images:
        inputs = Schema([ColSpec(AnyType(), FEATURES_COLUMN)])
    else:
        # A schema cannot say that exactly one of them is given, and it has no type for arrays of any size.
        inputs = Schema(
            [
                ColSpec(DataType.binary, IMAGE_COLUMN, required=False),
                ColSpec(DataType.string, PATH_COLUMN, required=False),
                ColSpec(AnyType(), ARRAY_COLUMN, required=False),
            ]
        )
    return ModelSignature(
        inputs=inputs,
        outputs=Schema(
            [
                ColSpec(DataType.string, LABELS_COLUMN),
                *(ColSpec(DataType.double, name) for name in numbers),
                *(ColSpec(DataType.boolean, name) for name in decisions),
            ]
        ),
        params=ParamSchema([ParamSpec(RAW_SCORES, DataType.boolean, False)]),
    )
