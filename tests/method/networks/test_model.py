"""Backbone and head together, from images to a gradient."""

import pytest
import torch

from kmcl_platform.method.kernels.mixture_head import KernelMixtureHead
from kmcl_platform.method.losses.kmcl import KmclLoss
from kmcl_platform.method.networks.model import KmclModel
from kmcl_platform.method.networks.timm_backbone import timm_backbone


def build_model(kernels_per_class: int = 1, **changes: str) -> KmclModel:
    torch.manual_seed(0)
    backbone = timm_backbone(name="test_resnet", pretrained=False)
    head = KernelMixtureHead(
        num_features=backbone.num_features, num_classes=3, kernels_per_class=kernels_per_class, **changes
    )
    return KmclModel(backbone, head)


def test_head_runs_in_float32_under_autocast() -> None:
    model = build_model(2).eval()
    images = torch.randn(4, 3, 40, 40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(images)
    assert {part.dtype for part in (output.features_BD, *output.mixture)} == {torch.float32}
    assert torch.equal(output.mixture.logits_BK, model.head(output.features_BD).logits_BK)


def test_the_loss_gets_the_features_that_the_kernels_have() -> None:
    model = build_model(1, input="normalised").eval()
    features = model(torch.randn(4, 3, 40, 40)).features_BD
    torch.testing.assert_close(features.mean(1), torch.zeros(4), rtol=0, atol=1e-5)
    # Below 1 by torch's eps, which counts here because the features of an untrained network are small.
    assert bool((features.std(1, correction=0) > 0.5).all())


@pytest.mark.parametrize("changes", [{}, {"input": "normalised", "start": "scaled"}])
@pytest.mark.parametrize("kernels_per_class", [1, 2])
def test_every_parameter_learns(kernels_per_class: int, changes: dict[str, str]) -> None:
    model = build_model(kernels_per_class, **changes)
    loss = KmclLoss(
        objective="kmcl",
        temperature=0.17,
        asymmetric_weight=1.0,
        reconstruction_weight=1.0,
        contrastive_weight=1.0,
        gamma_positive=0.0,
        gamma_negative=4.0,
        clip=0.05,
        detach_focusing=True,
    )
    output = model(torch.randn(4, 3, 40, 40))
    targets = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, -1], [0, 0, 1]])
    loss(output.features_BD, output.mixture, targets).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_head_of_another_width_is_refused() -> None:
    backbone = timm_backbone(name="test_resnet", pretrained=False)
    head = KernelMixtureHead(num_features=8, num_classes=3, kernels_per_class=1)
    with pytest.raises(ValueError, match="head: got num_features 8; valid: the backbone's 96"):
        KmclModel(backbone, head)


def test_a_model_without_a_backbone_is_the_rest_of_a_whole_one() -> None:
    torch.manual_seed(0)
    backbone = timm_backbone(name="test_resnet", pretrained=False)
    head = KernelMixtureHead(num_features=8, num_classes=3, kernels_per_class=2)
    whole = KmclModel(backbone, head, projection_width=8).eval()
    rest = KmclModel(96, head, projection_width=8).eval()
    names = {name for name in whole.state_dict() if not name.startswith("backbone.")}
    assert set(rest.state_dict()) == names
    rest.load_state_dict({name: whole.state_dict()[name] for name in names})
    images = torch.randn(4, 3, 40, 40)
    expected, found = whole(images), rest(backbone(images))
    assert torch.equal(found.features_BD, expected.features_BD)
    assert torch.equal(found.mixture.logits_BK, expected.mixture.logits_BK)
    # Normalised over the features and not negative, so the head and the kernels receive this layer's output.
    assert found.features_BD.shape == (4, 8) and bool((found.features_BD >= 0).all())


def test_features_of_another_width_are_refused() -> None:
    head = KernelMixtureHead(num_features=8, num_classes=3, kernels_per_class=1)
    with pytest.raises(ValueError, match="head: got num_features 8; valid: the backbone's 96"):
        KmclModel(96, head)
    with pytest.raises(ValueError, match="head: got num_features 8; valid: the backbone's 16"):
        KmclModel(96, head, projection_width=16)
