"""ONNX: onnxruntime gives the scores of torch for any batch size; a file with other scores is not kept."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from kmcl_platform.cli.main import main
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.loading.decode import decode_pixels
from kmcl_platform.data.loading.transforms import EvalTransform
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.model.error_detection import DetectionArea, ErrorDetection
from kmcl_platform.registry.model.load import RegisteredModel
from kmcl_platform.registry.model.model_folder import read_predictor, write_model, write_rule
from kmcl_platform.registry.package import onnx_export
from kmcl_platform.registry.package.onnx_export import export_onnx
from kmcl_platform.training.build import build_model
from kmcl_platform.training.workers.random_state import seed_everything

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = [pytest.mark.story, pytest.mark.takes(25)]

RULE = DecisionRule(0.5, (0.4,) * 10, "f1", shift=-0.75)
LAST_BIASES = ("logit_layer.bias", "duplicate_pooling_bias")
"""The bias of the logits of each head below."""
DETECTION = ErrorDetection(9, 90, 9, 0.95, DetectionArea(0.7, 0.6, 0.8), None)


def build(folder: Path, kernel: str, head: str = "kernel_mixture") -> RegisteredModel:
    config = TrialConfig().with_values(
        {
            "data.image_size": 32,
            "model.kernel": kernel,
            "model.kernels_per_class": 2,
            "model.reduced_dim": 8,
            "model.head": head,
        }
    )
    seed_everything(0)
    save_file(build_model(config, 10).state_dict(), folder / "weights.safetensors")
    write_model(folder / "model", folder / "weights.safetensors", config, [str(k) for k in range(10)])
    write_rule(folder / "model", RULE, DETECTION)
    return RegisteredModel("models:/m/3", read_predictor(folder / "model", torch.device("cpu")))


@dataclass(frozen=True)
class Exported:
    """A model, its file, and the largest difference that the export has measured."""

    model: RegisteredModel
    file: Path
    difference: float


@pytest.fixture(scope="module", params=[("isotropic", "kernel_mixture"), ("mahalanobis", "ml_decoder")])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    model = build(folder, *request.param)
    return Exported(model, folder / "model.onnx", export_onnx(model, folder / "model.onnx"))


def test_onnxruntime_gives_the_scores_that_users_see(exported: Exported, small_manifest: Path) -> None:
    model, out = exported.model, exported.file
    assert exported.difference < 1e-5
    manifest = read_manifest(small_manifest)
    encoded = [manifest.encoded_image("test", row) for row in range(7)]
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["kmcl"])
    pixels_BHW3 = EvalTransform(image_size=facts["image_size"])([decode_pixels(data) for data in encoded])
    mean, std = (np.array(facts[name], dtype=np.float32).reshape(1, 3, 1, 1) for name in ("mean", "std"))
    images_B3HW = (pixels_BHW3.numpy().astype(np.float32) / 255 - mean) / std
    raw_NK = model.predictor.predict(encoded).scores_NK
    for count in (1, 3, 7):
        logits_BK, scores_BK = session.run(["logits", "scores"], {"images": images_B3HW[:count]})
        assert scores_BK == pytest.approx(RULE.calibrate(raw_NK[:count]), abs=1e-5)
        assert 1 / (1 + np.exp(-logits_BK)) == pytest.approx(raw_NK[:count], abs=1e-5)
    assert (facts["model"], facts["thresholds"], facts["class_names"][3]) == ("models:/m/3", [0.4] * 10, "3")
    # A prediction's entropy follows from the scores by the formula in the metadata.
    assert facts["entropy"].startswith("-p log2 p - (1 - p) log2(1 - p)")
    assert facts["error_detection"] == DETECTION.to_document()
    assert [path.name for path in out.parent.glob("*.onnx*")] == ["model.onnx"]


def test_a_file_with_other_scores_is_not_kept(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_wrongly(network: Any, path: Path, *others: Any) -> None:
        proto = onnx.load(exported.file)
        bias = next(one for one in proto.graph.initializer if one.name.endswith(LAST_BIASES))
        bias.raw_data = (onnx.numpy_helper.to_array(bias) + np.float32(0.01)).tobytes()
        onnx.save(proto, path)

    monkeypatch.setattr(onnx_export, "_write", write_wrongly)
    (tmp_path / "model.onnx").write_bytes(b"what was there before")
    network = exported.model.predictor.model.train()
    with pytest.raises(
        RegistryError, match=r"model.onnx: got scores of onnxruntime that differ from torch's by \d\.\de-03, so no"
    ):
        export_onnx(exported.model, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"what was there before"
    # What is exported is a copy: the caller's network is still in training mode.
    assert network.training
    network.eval()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m.pt"], "m.pt: got a name that ends in '.pt'; valid: the path of a model (*.onnx)"),
        (["there.onnx"], "there.onnx: exists; valid: a new file, or --overwrite"),
        (["m.onnx"], "onnx: not installed; valid: pip install 'kmcl-platform[onnx]'"),
    ],
)
def test_mistakes_are_reported_in_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = onnx_export.importlib.util.find_spec
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").write_bytes(b"")
    answer = CliRunner().invoke(main, ["export", "models:/m/1", *words])
    assert answer.exit_code == 2
    assert answer.stderr == f"kmcl: {message}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
