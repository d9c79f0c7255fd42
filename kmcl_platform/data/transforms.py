"""From decoded images to the tensor that the network sees.

Legend of shapes: B batch, H = W = image_size pixels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image


class EvalTransform:
    """RGB, resized, scaled to 0..1, normalised: the same tensor for the same image, always."""

    def __init__(self, *, image_size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        """
        Args:
            image_size: height and width in pixels, 1 or more; the aspect ratio is not kept.
            mean, std: of the red, green and blue channel, for values in 0..1; std above 0.

        Raises:
            ValueError: an argument is out of its range.
        """
        if image_size < 1:
            raise ValueError(f"image_size: got {image_size}; valid: 1 or more")
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"mean, std: got {mean}, {std}; valid: three numbers each, std above 0")
        self.image_size = image_size
        self.mean = tuple(mean)
        self.std = tuple(std)
        # (x / 255 - mean) / std as one multiplication and one addition over the batch.
        self._scale = torch.tensor([1 / (255 * s) for s in self.std]).view(1, 3, 1, 1)
        self._shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)]).view(1, 3, 1, 1)

    def __call__(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Return images_B3HW, float32, contiguous."""
        size = (self.image_size, self.image_size)
        pixels_BHW3 = np.empty((len(images), *size, 3), dtype=np.uint8)
        for i, image in enumerate(images):
            rgb = _to_rgb(image)
            pixels_BHW3[i] = np.asarray(rgb if rgb.size == size else rgb.resize(size, Image.Resampling.BILINEAR))
        pixels_B3HW = torch.from_numpy(pixels_BHW3).permute(0, 3, 1, 2)
        images_B3HW = pixels_B3HW.to(torch.float32, memory_format=torch.contiguous_format)
        return images_B3HW.mul_(self._scale).add_(self._shift)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would clip 16-bit grey levels at 255: nearly all of a medical image would turn white.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")
