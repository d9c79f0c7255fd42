"""Models in a real registry: the signature, the columns and the commands agree on what a prediction shows."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors.torch import save_file

from kmcl_platform.config.store import Store, open_store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.registry.model.decision_rule import default_rule
from kmcl_platform.registry.model.error_detection import DetectionArea, ErrorDetection
from kmcl_platform.registry.model.load import RegisteredModel
from kmcl_platform.registry.model.model_folder import write_model, write_rule
from kmcl_platform.registry.model.versions import download_package, find_version
from kmcl_platform.registry.package.log_model import log_model
from kmcl_platform.tracking.database import artifact_location, as_default, connect
from kmcl_platform.training.build import build_model
from kmcl_platform.training.workers.random_state import seed_everything
from tests.support.command_line import kmcl

pytestmark = [pytest.mark.story, pytest.mark.takes(25)]

CONFIG = TrialConfig().with_values({"data.image_size": 32, "model.kernels_per_class": 2})
CLASSES = [str(digit) for digit in range(10)]
AREA = DetectionArea(0.7, 0.6, 0.8)
MODELS = {
    "shown": ErrorDetection(9, 90, 9, 0.95, AREA, AREA),
    "not_shown": ErrorDetection(9, 90, 9, 0.95, AREA, DetectionArea(0.4, 0.3, 0.5)),
}
"""Models, and whether their uncertainty was measured to find wrong decisions."""


class Registered:
    """A store with one version of each of `MODELS`, and an image."""

    def __init__(self, store: Store, image: Path) -> None:
        self.store = store
        self.image = image

    def predict(self, model: str, *options: str) -> str:
        return kmcl("predict", f"models:/{model}/1", self.image, *options, store=self.store.root).stdout


@pytest.fixture(scope="module")
def manifest(small_manifest: Path) -> Manifest:
    return read_manifest(small_manifest)


@pytest.fixture(scope="module")
def registered(manifest: Manifest, initialised_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Registered:
    folder = tmp_path_factory.mktemp("registered")
    store = open_store(folder / "store")
    store.root.mkdir()
    shutil.copy(initialised_database, store.root / "mlflow.db")
    client = connect(store)
    run = client.create_run(client.create_experiment("any", artifact_location(store, "any")))
    # As before training: scores are near 0.5, some above and some below.
    seed_everything(0)
    save_file(build_model(CONFIG, len(CLASSES)).state_dict(), folder / "weights.safetensors")
    for name, detection in MODELS.items():
        model = folder / name / "model"
        write_model(model, folder / "weights.safetensors", CONFIG, CLASSES)
        write_rule(model, default_rule(10), detection)
        shown = name == "shown"
        example = manifest.encoded_image("train", 0)
        model_id = log_model(
            client, run.info.run_id, name, model, manifest, 1, example=example, shows_uncertainty=shown
        )
        client.create_registered_model(name)
        with as_default(client):
            client.create_model_version(name, source=f"models:/{model_id}", model_id=model_id)
    (folder / "images").mkdir()
    image = folder / "images" / "image.png"
    image.write_bytes(manifest.encoded_image("test", 0))
    return Registered(store, image)


@pytest.mark.parametrize("name", MODELS)
def test_the_signature_names_the_columns_that_the_model_gives(registered: Registered, name: str) -> None:
    import mlflow.pyfunc

    client = connect(registered.store)
    package = download_package(client, find_version(client, f"models:/{name}/1"))
    model = mlflow.pyfunc.load_model(str(package))
    table = model.predict({"image": [registered.image.read_bytes()]})
    prefixes = ["score", "entropy", *["uncertainty"] * (name == "shown"), "decision"]
    assert list(table.columns) == ["labels", *(f"{prefix}: {name}" for prefix in prefixes for name in CLASSES)]
    assert model.metadata.signature.outputs.input_names() == list(table.columns)


def test_the_command_gives_each_predicted_label_its_entropy(registered: Registered) -> None:
    answer = json.loads(registered.predict("not_shown", "--json"))
    assert list(answer) == ["image", "labels", "scores", "entropies"]
    scores, entropies = answer["scores"], answer["entropies"]
    assert list(scores) == list(entropies)
    assert sorted(scores) == CLASSES
    assert all(0 <= value <= 1 for value in entropies.values())
    assert answer["labels"] == [k for k, p in scores.items() if p > 0.5]
    predicted = [f"{k} {p:.2f} (entropy {entropies[k]:.2f})" for k, p in scores.items() if p > 0.5]
    others = [f"{k} {p:.2f}" for k, p in scores.items() if p <= 0.5]
    assert predicted
    assert registered.predict("not_shown") == f"image.png: {', '.join(predicted)}   (next: {', '.join(others[:3])})\n"


def test_the_command_gives_uncertainties_that_find_wrong_decisions(registered: Registered) -> None:
    answer = json.loads(registered.predict("shown", "--json"))
    assert list(answer) == ["image", "labels", "scores", "entropies", "uncertainties"]
    assert all(0 <= value < 1 for value in answer["uncertainties"].values())
    first = answer["labels"][0]
    both = f"(entropy {answer['entropies'][first]:.2f}, uncertainty {answer['uncertainties'][first]:.2f})"
    assert f"image.png: {first} {answer['scores'][first]:.2f} {both}, " in registered.predict("shown")


def test_batch_prediction_and_export_from_the_registry(
    registered: Registered, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, onnx = tmp_path / "out.parquet", tmp_path / "model.onnx"
    store = registered.store.root
    answer = kmcl("predict", "models:/shown/1", "--manifest", small_manifest, "--out", out, store=store)
    assert answer.output == f"predicted: 64 images with models:/shown/1\nwritten: {out}\n"
    table = pd.read_parquet(out)
    assert len(table) == 64
    one = json.loads(registered.predict("shown", "--json"))
    for prefix, values in (("score", "scores"), ("entropy", "entropies"), ("uncertainty", "uncertainties")):
        assert one[values]["3"] == pytest.approx(table[f"{prefix}: 3"][0], abs=1e-5)
    words = ["predict", "models:/not_shown/1", "--folder", registered.image.parent, "--out", out]
    again = kmcl(*words, store=store)
    assert (again.exit_code, again.stderr) == (2, f"kmcl: {out}: exists; valid: a new file, or --overwrite\n")
    assert kmcl(*words, "--overwrite", store=store).exit_code == 0
    assert pd.read_parquet(out)["image"].tolist() == [str(registered.image)]
    assert not any(name.startswith("uncertainty") for name in pd.read_parquet(out).columns)

    def export(model: RegisteredModel, out: Path) -> Any:
        out.write_bytes(b"x" * 10**6)
        assert model.predictor.error_detection == MODELS["shown"]
        return 1e-7

    # What the file holds is tested where it is made.
    monkeypatch.setattr("kmcl_platform.registry.package.onnx_export.export_onnx", export)
    exported = kmcl("export", "models:/shown/1", onnx, store=store)
    assert exported.output == (
        f"written: {onnx}, 1.0 MB, of models:/shown/1\nscores differ from torch's by 1.0e-07 at most\n"
    )


def test_a_name_that_is_not_utf_8_is_shown_with_its_bytes(registered: Registered, tmp_path: Path) -> None:
    image = tmp_path / "caf\udce9.png"
    image.write_bytes(registered.image.read_bytes())
    store = registered.store.root
    assert kmcl("predict", "models:/shown/1", image, store=store).stdout.startswith("caf\\xe9.png: ")
    answer = json.loads(kmcl("predict", "models:/shown/1", image, "--json", store=store).stdout)
    assert answer["image"] == str(image).replace("\udce9", "\\xe9")
    batch = kmcl("predict", "models:/shown/1", image, "--out", tmp_path / "out.parquet", store=store)
    assert batch.exit_code == 2
    assert "caf\\xe9.png: got a name that is not UTF-8; valid: names that a Parquet file can hold" in batch.stderr
    assert len(batch.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("*.parquet"))
