"""The backbone: width, normalisation constants, names."""

import pytest
import torch
from torchvision.transforms import v2

from kmcl_platform.method.networks.timm_backbone import timm_backbone


# mobilenetv3 keeps a hidden layer before its classifier: its output is wider than timm's num_features.
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "mobilenetv3_small_050"])
def test_num_features_is_the_width_of_the_output(name: str) -> None:
    backbone = timm_backbone(name=name, pretrained=False).eval()
    size = 160 if name == "test_vit" else 40
    with torch.no_grad():
        features = backbone(torch.zeros(2, 3, size, size))
    assert features.shape == (2, backbone.num_features)
    assert features.dtype == torch.float32


def test_the_normalisation_constants_are_those_of_timm() -> None:
    backbone = timm_backbone(name="test_resnet", pretrained=False)
    assert backbone.mean == (0.5, 0.5, 0.5)
    assert backbone.std == (0.5, 0.5, 0.5)


def test_features_are_float32_under_autocast() -> None:
    backbone = timm_backbone(name="test_resnet", pretrained=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert backbone(torch.zeros(2, 3, 40, 40)).dtype == torch.float32


def test_an_unknown_name_lists_similar_ones() -> None:
    with pytest.raises(ValueError, match=r"name: got 'resnt18'; valid: a timm model \(close names: .*resnet18"):
        timm_backbone(name="resnt18", pretrained=False)


def test_an_unknown_tag_lists_the_tags() -> None:
    with pytest.raises(ValueError, match=r"name: got 'resnet18.typo'; valid: one of the pretrained tags .*a1_in1k"):
        timm_backbone(name="resnet18.typo", pretrained=False)


def test_bytes_are_normalised_as_torchvision_does() -> None:
    backbone = timm_backbone(name="test_resnet", pretrained=False).eval()
    pixels_B3HW = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(backbone.mean, backbone.std)])
    with torch.no_grad():
        torch.testing.assert_close(backbone(pixels_B3HW), backbone(normalise(pixels_B3HW)), rtol=1e-4, atol=1e-5)
    assert "pixel_scale" not in backbone.state_dict()
