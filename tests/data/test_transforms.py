import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from kmcl_platform.data.transforms import EvalTransform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(mode: str, size: tuple[int, int], seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1"])
@pytest.mark.parametrize("size", [(40, 40), (64, 30), (20, 20)])
def test_matches_torchvision(mode: str, size: tuple[int, int]) -> None:
    images = [picture(mode, size, seed) for seed in range(3)]
    reference = v2.Compose(
        [v2.RGB(), v2.Resize((40, 40)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )
    expected = torch.stack([reference(image.convert("RGB")) for image in images])
    batch = EvalTransform(image_size=40, mean=MEAN, std=STD)(images)
    assert batch.shape == (3, 3, 40, 40)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous()
    torch.testing.assert_close(batch, expected, rtol=0, atol=2e-6)


def test_images_of_a_batch_do_not_meet() -> None:
    transform = EvalTransform(image_size=16, mean=MEAN, std=STD)
    images = [picture("RGB", (16, 16)), picture("L", (30, 20))]
    batch = transform(images)
    for i, image in enumerate(images):
        assert torch.equal(batch[i], transform([image])[0])


def test_16_bit_grey_keeps_its_range() -> None:
    levels = np.array([[0, 256], [32768, 65535]], dtype=np.uint16)
    batch = EvalTransform(image_size=2, mean=(0, 0, 0), std=(1, 1, 1))([Image.fromarray(levels)])
    torch.testing.assert_close(batch[0, 0] * 255, torch.tensor([[0.0, 1.0], [128.0, 255.0]]))


@pytest.mark.parametrize(
    ("size", "mean", "std"), [(0, MEAN, STD), (8, (0.5,), STD), (8, MEAN, (0.2, 0.2)), (8, MEAN, (0.0, 1.0, 1.0))]
)
def test_invalid_arguments(size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="valid: "):
        EvalTransform(image_size=size, mean=mean, std=std)
