"""A logged model of random weights as MLflow stores it, one image, and the scores of that image."""

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from safetensors.torch import save_file

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.model.model_folder import read_predictor, write_model
from kmcl_platform.registry.package.log_model import log_model
from kmcl_platform.training.build import build_model

CONFIG = TrialConfig().with_values({"data.image_size": 32, "model.backbone": "test_byobnet", "num_epochs": 1})
RULE = DecisionRule(2.0, (0.0, 1.0) * 5, "precision", 0.9, shift=-1.0)
"""Every other class is always predicted, and the others never."""


def make_package(folder: Path, initialised_database: Path) -> None:
    manifest = build_digits(num_train=4, num_val=2, num_test=2)
    save_file(build_model(CONFIG, 10).state_dict(), folder / "weights.safetensors")
    write_model(folder / "model", folder / "weights.safetensors", CONFIG, manifest.class_names, RULE)
    shutil.copy(initialised_database, folder / "mlflow.db")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    run = client.create_run(client.create_experiment("e", str(folder / "artifacts")))
    log_model(
        client,
        run.info.run_id,
        "m",
        folder / "model",
        manifest,
        1,
        example=manifest.encoded_image("train", 0),
        shows_uncertainty=False,
    )


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def request(column: str = "image", value: object = None, **params: object) -> str:
    value = base64.b64encode(jpeg()).decode() if value is None else value
    return json.dumps({"dataframe_split": {"columns": [column], "data": [[value]]}, "params": params})


def raw_scores(package: Path) -> np.ndarray:
    """The network's own scores of the image."""
    return read_predictor(package / "artifacts" / "model").predict([jpeg()]).scores_NK


def check(answer: str, package: Path) -> None:
    (row,) = json.loads(answer)["predictions"]
    expected = RULE.calibrate(raw_scores(package))[0]
    assert [row[f"score: {name}"] for name in range(10)] == pytest.approx(expected.tolist(), abs=1e-5)
