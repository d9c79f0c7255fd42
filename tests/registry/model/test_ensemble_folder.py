"""An ensemble as a folder: the mean of its members' logits, whatever networks they have."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import RegistryError
from kmcl_platform.method.networks.ensemble import EnsembleModel
from kmcl_platform.registry.model.decision_rule import to_logits
from kmcl_platform.registry.model.load import RegisteredModel
from kmcl_platform.registry.model.model_folder import read_predictor, write_model
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.registry.package.onnx_export import export_onnx
from kmcl_platform.training.build import build_model
from kmcl_platform.training.workers.random_state import seed_everything

CLASSES = ["cat", "dog", "bird"]
CPU = torch.device("cpu")
BASE = TrialConfig().with_values({"data.image_size": 32})
CONFIGS = [
    BASE,
    BASE.with_values({"model.kernels_per_class": 2, "model.projection_width": 8}),
    BASE.with_values({"model.backbone": "test_resnet", "loss.objective": "bce"}),
]


def write(folder: Path, configs: list[TrialConfig]) -> list[Path]:
    files = []
    for place, config in enumerate(configs):
        seed_everything(place)
        network = build_model(config, len(CLASSES))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if name == "head.logit_layer.bias":
                    value += torch.tensor([0.5, -0.5, 1.0]) * (place + 1)  # members that differ clearly
        save_file(network.state_dict(), folder / f"{place}.safetensors")
        files.append(folder / f"{place}.safetensors")
    return files


def write_ensemble(folder: Path, configs: list[TrialConfig]) -> Path:
    files = write(folder, configs)
    others = list(zip(files[1:], configs[1:], strict=True))
    write_model(folder / "model", files[0], configs[0], CLASSES, others=others)
    return folder / "model"


def pictures() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8))


def members(folder: Path, configs: list[TrialConfig]) -> list[Predictor]:
    found = []
    for place, config in enumerate(configs):
        write_model(folder / f"member-{place}", folder / f"{place}.safetensors", config, CLASSES)
        found.append(read_predictor(folder / f"member-{place}", CPU))
    return found


def test_an_ensemble_has_the_mean_of_its_members_logits(tmp_path: Path) -> None:
    predictor = read_predictor(write_ensemble(tmp_path, CONFIGS), CPU)
    assert isinstance(predictor.model, EnsembleModel)
    found = predictor.predict(pictures())
    logits = [to_logits(one.predict(pictures()).scores_NK) for one in members(tmp_path, CONFIGS)]
    assert np.ptp([one.mean() for one in logits]) > 0.1, "the members differ"
    assert to_logits(found.scores_NK) == pytest.approx(np.mean(logits, axis=0), abs=1e-5)
    assert found.uncertainties_NK is None, "its members' kernels are not joined"


def test_an_ensemble_of_features_takes_features(tmp_path: Path) -> None:
    features = {"data.features": "mine.npy", "model.backbone_mode": "frozen", "model.pretrained": True}
    configs = [BASE.with_values(features), BASE.with_values(features | {"model.projection_width": 4})]
    files = []
    for place, config in enumerate(configs):
        seed_everything(place)
        save_file(build_model(config, 3, num_features=6, pretrained=False).state_dict(), tmp_path / f"{place}")
        files.append(tmp_path / f"{place}")
    write_model(tmp_path / "model", files[0], configs[0], CLASSES, others=[(files[1], configs[1])])
    predictor = read_predictor(tmp_path / "model", CPU)
    assert predictor.takes_features
    assert predictor.model.num_inputs == 6
    assert predictor.predict([np.ones(6, dtype=np.float32)]).scores_NK.shape == (1, 3)


def test_weights_of_a_missing_member_are_an_error(tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path, CONFIGS[:2])
    document = json.loads((folder / "model.json").read_text())
    document["others"] += document["others"]
    (folder / "model.json").write_text(json.dumps(document))
    with pytest.raises(RegistryError, match="got a folder that is not a model of this platform"):
        read_predictor(folder, CPU)


@pytest.mark.story
@pytest.mark.takes(20)
def test_an_ensemble_is_exported_as_one_graph(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    predictor = read_predictor(write_ensemble(tmp_path, CONFIGS[:2]), CPU)
    assert export_onnx(RegisteredModel("models:/m/1", predictor), tmp_path / "model.onnx") <= 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert [one.name for one in session.get_inputs()] == ["images"]


def test_members_that_normalise_images_differently_are_no_graph(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    configs = [BASE.with_values({"model.backbone": name}) for name in ("test_byobnet", "test_resnet")]
    predictor = read_predictor(write_ensemble(tmp_path, configs), CPU)
    with pytest.raises(RegistryError, match="normalise images in different ways"):
        export_onnx(RegisteredModel("models:/m/1", predictor), tmp_path / "model.onnx")
    assert not list(tmp_path.glob("*.onnx*"))
    # The ensemble itself scores: each member normalises by itself.
    Image.fromarray(pictures()[0]).save(tmp_path / "picture.png")
    assert predictor.predict([(tmp_path / "picture.png").read_bytes()]).scores_NK.shape == (1, 3)
