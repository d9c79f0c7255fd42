"""Each operation on a batch has the result of torchvision's own on a Pillow image."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from kmcl_platform.data.augmentation import batches

OF_TORCHVISION = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "saturation": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
}
EXACT = {"identity", *batches._MOVES, "posterize", "solarize", "equalize"}
"""The others differ by one grey level at some pixels, where a value is rounded."""


@pytest.fixture(scope="module", params=[17, 40])
def images_B3SS(request: pytest.FixtureRequest) -> Tensor:
    """Smooth images, one of noise, and one of a single colour, with channels last as a loader has them."""
    size = request.param
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (4, 3, 6, 6), generator=generator).float()
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 255)
    noise = torch.randint(0, 256, (1, 3, size, size), generator=generator).float()
    images = torch.cat((smooth, noise, torch.full((1, 3, size, size), 77.0))).to(torch.uint8)
    return images.to(memory_format=torch.channels_last)


def of_torchvision(name: str, images_B3SS: Tensor, magnitude: int, sign: float) -> np.ndarray:
    reference, size = v2.RandAugment(), images_B3SS.shape[-1]
    magnitudes, signed = reference._AUGMENTATION_SPACE[OF_TORCHVISION[name]]
    values = magnitudes(31, size, size)
    strength = 0.0 if values is None else float(values[magnitude]) * (sign if signed else 1.0)
    changed = [
        reference._apply_image_or_video_transform(
            Image.fromarray(image.permute(1, 2, 0).numpy()),
            OF_TORCHVISION[name],
            strength,
            reference.interpolation,
            reference._fill,
        )
        for image in images_B3SS
    ]
    return np.stack([np.asarray(image) for image in changed]).transpose(0, 3, 1, 2)


def test_the_operations_are_those_of_torchvision() -> None:
    assert set(OF_TORCHVISION.values()) == set(v2.RandAugment()._AUGMENTATION_SPACE)
    assert sorted(batches.OPERATIONS) == sorted(OF_TORCHVISION)


@pytest.mark.parametrize("sign", [1.0, -1.0])
# 20: a shear by a fifth, which puts points exactly between two pixels.
@pytest.mark.parametrize("magnitude", [0, 9, 20, 30])
@pytest.mark.parametrize("name", batches.OPERATIONS)
def test_an_operation_agrees_with_torchvision(name: str, magnitude: int, sign: float, images_B3SS: Tensor) -> None:
    expected = of_torchvision(name, images_B3SS, magnitude, sign)
    before = images_B3SS.clone()
    count = len(images_B3SS)
    result = batches.apply_operations(images_B3SS, [name] * count, np.full(count, sign), magnitude)
    assert result.dtype == torch.uint8
    assert torch.equal(images_B3SS, before), "the images of the loader are not changed"
    difference = np.abs(result.numpy().astype(int) - expected.astype(int))
    assert difference.max() <= (0 if name in EXACT else 1)
    assert (difference > 0).mean() < 0.02


def test_images_of_a_batch_have_their_own_operations(images_B3SS: Tensor) -> None:
    """Also with an operation that several have, in both directions, and with one that moves images."""
    names = ["rotate", "equalize", "identity", "brightness", "shear_x", "brightness"]
    signs_B = np.array([1.0, 1.0, 1.0, -1.0, -1.0, 1.0])
    result = batches.apply_operations(images_B3SS, names, signs_B, 9)
    for row, (name, sign) in enumerate(zip(names, signs_B, strict=True)):
        alone = batches.apply_operations(images_B3SS[row : row + 1], [name], np.array([sign]), 9)
        assert torch.equal(result[row], alone[0])
