"""Heads by name: their networks, KMCL's kernels beside them, what is refused, and a whole trial with each."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from timm.layers.ml_decoder import MLDecoder
from torch import Tensor, nn

from kmcl_platform.components.heads import MODULES
from kmcl_platform.config.reports.epoch_report import GRADIENT_SHARES, TRAIN_LOSSES
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.errors import ConfigError
from kmcl_platform.method.networks.logit_head import LogitHead
from kmcl_platform.method.networks.model import KmclModel
from kmcl_platform.method.networks.timm_backbone import timm_backbone
from kmcl_platform.plugins import Head, list_components
from kmcl_platform.registry.model.model_folder import read_predictor, write_model
from kmcl_platform.training.build import build_loss, build_model
from kmcl_platform.training.gradient_shares import TermGradients
from kmcl_platform.training.optim import parameter_groups
from tests.training.trials import ALONE, run

DECODER: dict[str, Any] = {"head": "ml_decoder", "head_options": {"ml_decoder": {"width": 16}}}
K = 5


def make(loss: dict[str, Any] | None = None, *, size: int = 32, **model: Any) -> tuple[TrialConfig, KmclModel]:
    config = TrialConfig.model_validate({"model": model, "loss": loss or {}, "data": {"image_size": size}})
    torch.manual_seed(0)
    return config, build_model(config, K).train()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return images, torch.randint(-1, 2, (12, K), generator=generator)


def test_each_file_registers_the_head_of_its_name() -> None:
    assert sorted(MODULES) == list_components(Head, built_in=True)


@pytest.mark.parametrize("model", [{}, {"kernels_per_class": 2, "head_input": "normalised", "projection_width": 16}])
def test_a_linear_head_with_kernel_terms_is_the_head_of_kmcl(
    batch: tuple[Tensor, Tensor], model: dict[str, Any]
) -> None:
    images, targets = batch
    config, whole = make(**model)
    _, divided = make(head="linear", **model)
    names = {
        name: name.replace("logit_layer", "network").replace("head.", "head.kernels.") if "logit" not in name else name
        for name in whole.state_dict()
    }
    names = {name: other.replace("head.logit_layer", "head.network") for name, other in names.items()}
    assert set(names.values()) == divided.state_dict().keys() - {"head.num_inputs"}
    for name, other in names.items():
        if name.startswith("head."):
            assert torch.equal(whole.state_dict()[name], divided.state_dict()[other]), name
    loss = build_loss(config.loss)
    first, second = (loss(*model(images), targets) for model in (whole, divided))
    assert first == second
    first.total.backward()
    second.total.backward()
    gradients = dict(divided.named_parameters())
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter.grad, gradients[names[name]].grad), name


@pytest.mark.parametrize("objective", ["bce", "asymmetric"])
def test_without_kernel_terms_there_are_no_kernels(batch: tuple[Tensor, Tensor], objective: str) -> None:
    images, targets = batch
    config, model = make({"objective": objective}, head="linear")
    assert set(dict(model.head.named_parameters())) == {"network.weight", "network.bias"}
    features, mixture = model(images)
    assert mixture.means_BKCR.shape == (12, K, 0, 1) and mixture.log_weights_BKC.shape == (12, K, 0)
    parts = build_loss(config.loss)(features, mixture, targets)
    _, usual = make({"objective": objective})
    assert torch.equal(parts.total, build_loss(config.loss)(*usual(images), targets).total)
    assert parameter_groups(model, config.optim)[0]["lr"] == config.optim.lr


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_efficientnet", "mobilenetv3_small_050"])
def test_ml_decoder_is_that_of_timm_on_the_feature_map(backbone: str, batch: tuple[Tensor, Tensor]) -> None:
    # Large enough for several places in the map of each network.
    images = torch.nn.functional.interpolate(batch[0].float(), 96).byte()
    _, model = make({"objective": "bce"}, size=96, backbone=backbone, **DECODER)
    model.eval()
    assert isinstance(model.head, LogitHead) and isinstance(model.head.network, MLDecoder)
    with torch.no_grad():
        features_BD, mixture = model(images)
        map_BTD = model.backbone(images)
        # Pooled, the map is what the same network gives with its pooling.
        pooled = timm_backbone(name=backbone, pretrained=False, image_size=96).eval()
        pooled.load_state_dict(model.backbone.state_dict())
        pooled_BD = pooled(images)
    assert map_BTD.dim() == 3 and map_BTD.shape[1] > 1 and map_BTD.shape[2] == model.backbone.num_features
    torch.testing.assert_close(mixture.logits_BK, model.head.network(map_BTD))
    torch.testing.assert_close(features_BD, map_BTD.mean(1))
    assert pooled_BD.shape == features_BD.shape
    if backbone in ("test_resnet", "test_efficientnet"):
        torch.testing.assert_close(features_BD, pooled_BD, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", ["isotropic", "anisotropic"])
def test_kernels_beside_another_head_learn_from_its_features(kernel: str, batch: tuple[Tensor, Tensor]) -> None:
    images, targets = batch
    config, model = make(kernel=kernel, reduced_dim=8, kernels_per_class=2, **DECODER)
    model.head.network.eval()  # Without dropout, so that both passes below are the same.
    loss, gradients = build_loss(config.loss), TermGradients(model.head)
    with gradients.watching():
        output = model(images)
    gradients.measure(loss, targets)
    shares = gradients.shares(ALONE)
    assert len(shares) == 3 and min(shares.values()) > 0
    # The same, from the map that both parts of the head receive.
    map_BTD = model.backbone(images)
    map_BTD.retain_grad()
    norms = []
    for term in loss.weighted_terms(model.head.kernel_features(map_BTD), model.head(map_BTD), targets):
        (gradient,) = torch.autograd.grad(term, map_BTD, retain_graph=True)
        norms.append(float(gradient.norm()))
    assert list(shares.values()) == pytest.approx([norm / sum(norms) for norm in norms], rel=1e-3)
    loss(*output, targets).total.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    faster = parameter_groups(model, config.with_values({"optim.head_lr_factor": 3.0}).optim)
    kernels = {id(parameter) for parameter in model.head.kernel_parameters()}
    assert kernels == {id(one) for group in faster if group["lr"] != config.optim.lr for one in group["params"]}


SEARCH = """
name: heads
base: {model: {head: ml_decoder, head_options: {ml_decoder: {groups: 4}}}}
space:
  model.head_options.ml_decoder.groups: {kind: int, low: 2, high: 8}
  model.head: {kind: choice, choices: [ml_decoder, linear, kernel_mixture]}
budget: {trials: 5}
"""


def test_options_of_heads_are_searched() -> None:
    file = parse_search_file(SEARCH.encode(), "f.yaml")
    assert file.base.flat()["model.head_options.ml_decoder.width"] == 768
    config = file.base.with_values({"model.head_options.ml_decoder.groups": 3})
    assert build_model(config, K).head.network.embed_len_decoder == 3
    # The default has no options, so definitions and records of older versions stay as they are.
    assert [path for path in TrialConfig().flat() if "options" in path] == []
    record = TrialConfig().model_dump()
    del record["model"]["head"], record["model"]["head_options"]
    assert TrialConfig.from_record(record) == TrialConfig()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("head: ml_decoder,", "head: ml_decode,", "base.model.head: got 'ml_decode'; valid: ml_decoder, kernel_mixture, linear, or the name in a plug-in that `plugins` lists"),
        ("ml_decoder.groups: {kind", "ml_decoder.group: {kind", "space.model.head_options.ml_decoder.group: unknown path; valid: model.head_options.ml_decoder.groups"),
        ("low: 2", "low: 0", "space.model.head_options.ml_decoder.groups: got 0, which makes an invalid trial: model.head_options.ml_decoder.groups: got 0; valid: a number of at least 1"),
        ("groups: 4", "width: 12", "base.model.head_options.ml_decoder.width: got 12; valid: a multiple of 8"),
        ("{ml_decoder: {groups: 4}}", "{linar: {}}", "base.model.head_options.linar: unknown name; valid: linear"),
        ("head: ml_decoder,", "head: ml_decoder, backbone_mode: frozen, pretrained: true,", "base.model.head: got 'ml_decoder'; valid: a head that takes no feature map, such as linear, or also model.backbone_mode finetune"),
    ],
)  # fmt: skip
def test_bad_search_files(before: str, after: str, message: str) -> None:
    assert before in SEARCH
    with pytest.raises(ConfigError, match=re.escape(f"f.yaml: {message}")) as caught:
        parse_search_file(SEARCH.replace(before, after).encode(), "f.yaml")
    assert "\n" not in str(caught.value)


def test_a_network_without_a_feature_map_is_refused() -> None:
    backbone = timm_backbone(name="test_resnet", pretrained=False, feature_map=True)
    backbone.network = nn.Flatten()
    with pytest.raises(
        ValueError, match="got 'test_resnet', which gives no feature map; valid with this head: another b"
    ):
        backbone(torch.zeros(2, 3, 8, 8))


def test_logits_of_another_shape_are_refused() -> None:
    head = LogitHead(nn.Linear(4, 3), num_features=4, num_classes=K)
    with pytest.raises(
        ValueError, match=re.escape("the head: got logits of shape (2, 3); valid: (images, 5), one for")
    ):
        head(torch.zeros(2, 4))


def test_a_trial_continues_from_its_checkpoint(tmp_path: Path) -> None:
    config = TrialConfig.model_validate(
        {"data": {"image_size": 32, "batch_size": 16}, "model": DECODER, "num_epochs": 2}
    )
    digits = build_digits(num_train=32, num_val=16, num_test=8)
    whole = run(config, digits, tmp_path / "whole")
    run(config, digits, tmp_path / "parts", stop_after=1)
    parts = run(config, digits, tmp_path / "parts")
    for name in ("val/mAP", *TRAIN_LOSSES, *GRADIENT_SHARES):
        assert parts[-1].metrics[name] == whole[-1].metrics[name] > 0, name


def test_a_model_of_own_features_knows_their_number(tmp_path: Path) -> None:
    config = TrialConfig.model_validate(
        {
            "data": {"features": "mine.npy"},
            "model": {"backbone_mode": "frozen", "head": "linear"},
            "loss": {"objective": "bce"},
        }
    )
    save_file(build_model(config, 2, num_features=7).state_dict(), tmp_path / "weights")
    write_model(tmp_path / "model", tmp_path / "weights", config, ["a", "b"])
    predictor = read_predictor(tmp_path / "model", torch.device("cpu"))
    assert predictor.takes_features and predictor.model.num_inputs == 7
    (scores,) = predictor.predict([torch.zeros(7).numpy()]).scores_NK
    assert scores.shape == (2,)
