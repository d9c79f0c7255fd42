"""Prediction: scores, and uncertainties of the models whose kernels were trained, from the weights to the command."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from kmcl_platform.config.store import Store, open_store
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.data.loading.decode import decode_pixels
from kmcl_platform.data.loading.transforms import EvalTransform
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.errors import RegistryError
from kmcl_platform.method.kernels.uncertainty import label_uncertainty
from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.model.predictor import (
    DESCRIPTION,
    Predictor,
    read_predictor,
    trains_kernels,
    write_model,
    write_rule,
)
from kmcl_platform.registry.model.versions import download_package, find_version
from kmcl_platform.registry.package.log_model import log_model
from kmcl_platform.tracking.database import artifact_location, as_default, connect
from kmcl_platform.training.build import build_model
from kmcl_platform.training.random_state import seed_everything
from tests.support.command_line import kmcl

CONFIG = TrialConfig().with_values({"data.image_size": 32, "model.kernels_per_class": 2})
CLASSES = [str(digit) for digit in range(10)]
OBJECTIVES = ["kmcl", "bce"]


def write(folder: Path, objective: str) -> Path:
    """A model as it stands before training; its scores are near 0.5, some above and some below."""
    seed_everything(0)
    weights = folder / "weights.safetensors"
    save_file(build_model(CONFIG.model, len(CLASSES)).state_dict(), weights)
    write_model(folder / "model", weights, CONFIG.with_values({"loss.objective": objective}), CLASSES)
    return folder / "model"


def read(folder: Path, objective: str) -> Predictor:
    return read_predictor(write(folder, objective), torch.device("cpu"))


@pytest.fixture(scope="module")
def manifest(small_manifest: Path) -> Manifest:
    return read_manifest(small_manifest)


@pytest.mark.parametrize(
    ("values", "trained"),
    [
        ({}, True),
        ({"loss.reconstruction_weight": 0}, True),
        ({"loss.contrastive_weight": 0}, True),
        ({"loss.reconstruction_weight": 0, "loss.contrastive_weight": 0}, False),
        ({"loss.objective": "asymmetric"}, False),
        ({"loss.objective": "bce"}, False),
    ],
)
def test_uncertainties_need_an_objective_that_trains_the_kernels(values: dict[str, Scalar], trained: bool) -> None:
    assert trains_kernels(TrialConfig().with_values(values).loss) is trained


def test_a_model_is_read_without_hub_and_file_of_its_pretrained_weights(tmp_path: Path) -> None:
    folder = write(tmp_path, "kmcl")
    config = CONFIG.with_values({"model.pretrained": True, "model.pretrained_file": str(tmp_path / "gone.pth")})
    document = json.loads((folder / DESCRIPTION).read_text()) | {"config": config.model_dump()}
    (folder / DESCRIPTION).write_text(json.dumps(document))
    assert read_predictor(folder, torch.device("cpu")).config == config


def test_a_model_of_before_there_were_rules_decides_at_one_half(tmp_path: Path) -> None:
    folder = write(tmp_path, "kmcl")
    document = json.loads((folder / DESCRIPTION).read_text())
    assert document["decision"]["thresholds"] == [0.5] * 10
    del document["decision"]
    (folder / DESCRIPTION).write_text(json.dumps(document))
    rule = read_predictor(folder, torch.device("cpu")).rule
    assert (rule.temperature, rule.thresholds) == (1.0, (0.5,) * 10)
    scores_NK = np.array([[0.5, 0.500001]])
    assert rule.calibrate(scores_NK).tolist() == scores_NK.tolist()
    assert (scores_NK > np.array(rule.thresholds)[:2]).tolist() == [[False, True]]


def test_a_rule_that_is_written_later_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path, "kmcl")
    rule = DecisionRule(1.5, (0.25,) * 10, "recall", 0.9)
    write_rule(folder, rule)
    found = read_predictor(folder, torch.device("cpu"))
    assert (found.rule, found.class_names) == (rule, tuple(CLASSES))
    write_rule(folder, DecisionRule(1.5, (0.25,) * 9))
    with pytest.raises(RegistryError, match="not a model of this platform: decision.thresholds: got 9; valid: 10"):
        read_predictor(folder, torch.device("cpu"))


def test_a_prediction_is_what_the_network_and_its_kernels_say(manifest: Manifest, tmp_path: Path) -> None:
    predictor = read(tmp_path, "kmcl")
    images = [manifest.encoded_image("test", row) for row in range(3)]
    prediction = predictor.predict(images)
    transform = EvalTransform(image_size=32)
    with torch.no_grad():
        _, mixture = predictor.model(transform([decode_pixels(data) for data in images]))
    assert prediction.scores_NK == pytest.approx(mixture.logits_BK.sigmoid().numpy())
    assert prediction.uncertainties_NK == pytest.approx(label_uncertainty(mixture).numpy())


def test_an_untrained_kernel_gives_scores_alone(manifest: Manifest, tmp_path: Path) -> None:
    predictor = read(tmp_path, "bce")
    images = [manifest.encoded_image("test", 0)]
    scores, uncertainties = predictor.predict(images)
    assert uncertainties is None
    assert (predictor.scores(images) == scores).all()


def test_no_images_give_no_rows(tmp_path: Path) -> None:
    scores, uncertainties = read(tmp_path, "kmcl").predict([])
    assert uncertainties is not None
    assert scores.shape == uncertainties.shape == (0, len(CLASSES))


class Registered:
    """A store with one version of a model for each objective, and an image."""

    def __init__(self, store: Store, image: Path) -> None:
        self.store = store
        self.image = image

    def predict(self, objective: str, *options: str) -> str:
        return kmcl("predict", f"models:/{objective}/1", self.image, *options, store=self.store.root).stdout


@pytest.fixture(scope="module")
def registered(manifest: Manifest, initialised_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Registered:
    folder = tmp_path_factory.mktemp("registered")
    store = open_store(folder / "store")
    store.root.mkdir()
    shutil.copy(initialised_database, store.root / "mlflow.db")
    client = connect(store)
    run = client.create_run(client.create_experiment("any", artifact_location(store, "any")))
    for objective in OBJECTIVES:
        (folder / objective).mkdir()
        model = write(folder / objective, objective)
        known = objective == "kmcl"
        model_id = log_model(client, run.info.run_id, objective, model, manifest, 1, shows_uncertainty=known)
        client.create_registered_model(objective)
        with as_default(client):
            client.create_model_version(objective, source=f"models:/{model_id}", model_id=model_id)
    image = folder / "image.png"
    image.write_bytes(manifest.encoded_image("test", 0))
    return Registered(store, image)


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_signature_names_the_columns_that_the_model_gives(
    registered: Registered, manifest: Manifest, objective: str
) -> None:
    import mlflow.pyfunc

    client = connect(registered.store)
    package = download_package(client, find_version(client, f"models:/{objective}/1"))
    model = mlflow.pyfunc.load_model(str(package))
    table = model.predict({"image": [registered.image.read_bytes()]})
    prefixes = ("score: ", "uncertainty: ") if objective == "kmcl" else ("score: ",)
    prefixes += ("decision: ",)
    assert list(table.columns) == ["labels", *(f"{prefix}{name}" for prefix in prefixes for name in CLASSES)]
    assert model.metadata.signature.outputs.input_names() == list(table.columns)


@pytest.mark.slow
def test_the_command_gives_each_sure_label_its_uncertainty(registered: Registered) -> None:
    answer = json.loads(registered.predict("kmcl", "--json"))
    scores, uncertainties = answer["scores"], answer["uncertainties"]
    assert list(scores) == list(uncertainties)
    assert sorted(scores) == CLASSES
    assert all(0 <= value < 1 for value in uncertainties.values())
    assert answer["labels"] == [k for k, p in scores.items() if p > 0.5]
    sure = [f"{k} {p:.2f} (uncertainty {uncertainties[k]:.2f})" for k, p in scores.items() if p > 0.5]
    unsure = [f"{k} {p:.2f}" for k, p in scores.items() if p <= 0.5]
    assert sure
    assert registered.predict("kmcl") == f"image.png: {', '.join(sure)}   (next: {', '.join(unsure[:3])})\n"


@pytest.mark.slow
def test_the_command_gives_scores_alone_where_kernels_are_untrained(registered: Registered) -> None:
    assert list(json.loads(registered.predict("bce", "--json"))) == ["image", "labels", "scores"]
    assert "uncertainty" not in registered.predict("bce")


@pytest.mark.slow
def test_batch_prediction_and_export_from_the_registry(
    registered: Registered, manifest: Manifest, small_manifest: Path, tmp_path: Path
) -> None:
    out, onnx = tmp_path / "out.parquet", tmp_path / "model.onnx"
    store = registered.store.root
    answer = kmcl("predict", "models:/kmcl/1", "--manifest", str(small_manifest), "--out", str(out), store=store)
    assert answer.output == f"predicted: 64 images with models:/kmcl/1\nwritten: {out}\n"
    table = pd.read_parquet(out)
    assert len(table) == 64
    assert json.loads(registered.predict("kmcl", "--json"))["scores"]["3"] == pytest.approx(
        table["score: 3"][0], abs=1e-5
    )
    again = kmcl("predict", "models:/kmcl/1", "--folder", str(registered.image.parent), "--out", str(out), store=store)
    assert (again.exit_code, again.stderr) == (2, f"kmcl: {out}: exists; valid: a new file, or --overwrite\n")
    kmcl(
        "predict",
        "models:/kmcl/1",
        "--folder",
        str(registered.image.parent),
        "--out",
        str(out),
        "--overwrite",
        store=store,
    )
    assert pd.read_parquet(out)["image"].tolist() == [str(registered.image)]
    exported = kmcl("export", "models:/kmcl/1", str(onnx), store=store)
    assert exported.output.startswith(f"written: {onnx}, ")
    assert "scores differ from torch's by " in exported.output
    assert onnx.exists()
