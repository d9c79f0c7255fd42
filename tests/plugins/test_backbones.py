"""Backbones by name: a choice in a space, at any size of images; and those of plug-ins."""

import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from kmcl_platform.config.search_file_reader import parse_search_file, read_search_file
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.errors import ConfigError, WeightsError
from kmcl_platform.method.networks.timm_backbone import timm_backbone
from kmcl_platform.plugins import CustomBackbone, list_components
from kmcl_platform.registry.model.model_folder import read_predictor, write_model
from kmcl_platform.search.run.checks.component_check import check_components
from kmcl_platform.training.build import build_backbone, build_model
from kmcl_platform.training.features.backbone_weights import store_backbone
from tests.support.example import BACKBONE_PLUGIN, BACKBONE_SEARCH
from tests.training.trials import run

CHOICES = """\
  model.backbone: {kind: choice, choices: [test_resnet, test_vit, test_efficientnet]}
  data.image_size: {kind: choice, choices: [32, 48]}
"""
SEARCH = f"""
name: backbones
base:
  data: {{image_size: 32, batch_size: 16}}
  loss: {{objective: asymmetric}}
  num_epochs: 1
space:
{CHOICES}\
budget: {{trials: 3}}
scheduler: {{kind: none}}
"""


def test_a_space_may_have_several_backbones_and_sizes(tmp_path: Path) -> None:
    file = parse_search_file(SEARCH.encode(), "f.yaml")
    check_components(file)
    digits = build_digits(num_train=32, num_val=16, num_test=8)
    means = set()
    for number, name in enumerate(file.space["model.backbone"].edges()):
        config = file.base.with_values({"model.backbone": name, "data.image_size": 48})
        (report,) = run(config, digits, tmp_path / str(number))
        assert 0 < report.metrics["val/mAP"] <= 1
        means.add((build_backbone(config).mean, str(timm.get_pretrained_cfg(name).mean)))
    assert all(str(found) == published for found, published in means)


LOCKED = pytest.mark.locked
"""Older versions of timm cannot build this network without memory: then its first trial shows the same."""


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        pytest.param("[32, 48]", "[32, 40]", "data.image_size: got 40; valid: a multiple of 16, because test_vit divides images into patches", marks=LOCKED),
        ("test_efficientnet", "test_efficient", "model.backbone: name: got 'test_efficient'; valid: a timm model (close names: test_eff"),
        pytest.param(CHOICES, CHOICES.replace("test_vit", "test_maxvit").replace("48", "56"), "data.image_size: got 56, with which test_maxvit raises RuntimeError", marks=LOCKED),
        ("test_efficientnet]}", "test_vit2]}\n  model.backbone_options.test_vit2.x: {kind: int, low: 1, high: 2}", "unknown path; valid: model.backbone"),
    ],
)  # fmt: skip
def test_networks_that_do_not_fit_are_found_before_anything_starts(before: str, after: str, message: str) -> None:
    assert before in SEARCH
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        check_components(parse_search_file(SEARCH.replace(before, after).encode(), "f.yaml"))
    assert "\n" not in str(caught.value)


def test_pretrained_weights_of_a_transformer_fit_every_size(tmp_path: Path) -> None:
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "weights.safetensors")
    usual = timm_backbone(name="test_vit", pretrained=False, pretrained_file=tmp_path / "weights.safetensors")
    small = timm_backbone(
        name="test_vit", pretrained=False, pretrained_file=tmp_path / "weights.safetensors", image_size=32
    )
    assert small.network.pos_embed.shape[1] < usual.network.pos_embed.shape[1]
    assert torch.equal(small.network.patch_embed.proj.weight, usual.network.patch_embed.proj.weight)
    assert small(torch.zeros(1, 3, 32, 32)).shape == (1, usual.num_features)
    # The same size gives the same network as no size.
    same = timm_backbone(name="test_vit", pretrained=False, image_size=160)
    assert {name: one.shape for name, one in same.state_dict().items()} == {
        name: one.shape for name, one in usual.state_dict().items()
    }


def test_a_registered_transformer_has_the_size_of_its_images(tmp_path: Path) -> None:
    config = TrialConfig().with_values({"model.backbone": "test_vit", "data.image_size": 32})
    save_file(build_model(config, 2).state_dict(), tmp_path / "weights")
    write_model(tmp_path / "model", tmp_path / "weights", config, ["a", "b"])
    predictor = read_predictor(tmp_path / "model", torch.device("cpu"))
    assert predictor.predict([torch.zeros((50, 60, 3), dtype=torch.uint8).numpy()]).scores_NK.shape == (1, 2)


@pytest.fixture
def custom(tmp_path: Path) -> TrialConfig:
    """The trial of docs/plugins.md with a backbone of its own."""
    (tmp_path / "my_backbones.py").write_text(BACKBONE_PLUGIN)
    (tmp_path / "plain.yaml").write_text(BACKBONE_SEARCH)
    return read_search_file(tmp_path / "plain.yaml").base


def test_a_custom_backbone_is_pooled_or_gives_its_map(custom: TrialConfig) -> None:
    assert list_components(CustomBackbone) == ["plain_cnn"]
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    pooled = build_backbone(custom).eval()
    assert (pooled.mean, pooled.num_features) == ((0.5, 0.5, 0.5), 256)
    grid = pooled.network((images / 255 - 0.5) / 0.5)
    torch.testing.assert_close(pooled(images), grid.mean((2, 3)), rtol=1e-4, atol=1e-5)
    mapped = build_backbone(custom.with_values({"model.head": "ml_decoder"}))
    assert mapped(images).shape == (2, 4, 256)


def test_a_custom_backbone_can_be_frozen(custom: TrialConfig, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(build_backbone(custom).network.state_dict(), weights)
    frozen = custom.with_values({"model.backbone_mode": "frozen", "model.pretrained_file": str(weights)})
    digest = store_backbone(frozen, tmp_path)
    other = frozen.with_values({"model.backbone_options.plain_cnn.depth": 3})
    with pytest.raises(WeightsError, match="model.pretrained_file: got .*: not the weights of plain_cnn"):
        store_backbone(other, tmp_path)
    assert digest == store_backbone(frozen, tmp_path)
    (report,) = run_frozen(frozen.with_values({"num_epochs": 1, "data.batch_size": 16}), tmp_path)
    assert 0 < report <= 1


def run_frozen(config: TrialConfig, folder: Path) -> list[float]:
    """The validation mAP of each epoch of a trial on kept features."""
    from kmcl_platform.training.fit import fit
    from tests.training.trials import ALONE

    found: list[float] = []
    fit(
        config,
        build_digits(num_train=32, num_val=16, num_test=8),
        checkpoints=folder / "trial",
        report=lambda report: not found.append(report.metrics["val/mAP"]),
        workers=ALONE,
        features=folder,
    )
    return found
