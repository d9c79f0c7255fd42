"""The backbone: a network without a classifier, with the normalisation of its images.

Shape suffixes: B batch, T places of a feature map, D features, 3HW colour channels, height and width of an image.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """From images to pooled features, or to the features at the places of a feature map.

    Args:
        network: from normalised images to features_BD, or to a feature map: features_BTD, or a grid with D first.
        name: of the network, for messages.
        num_features: D, the width of the network's output.
        mean: of the red, green and blue channel, for pixel values from 0 to 1.
        std: the standard deviation of each channel, for the same values.
        feature_map: give the feature map. False: a feature map is replaced by the mean over its places.
        channels_last: D is the last dimension of the grid.
    """

    pixel_scale: Tensor
    pixel_shift: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        num_features: int,
        mean: Sequence[float],
        std: Sequence[float],
        feature_map: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.name = name
        self.num_features = num_features
        self.mean, self.std = tuple(mean), tuple(std)
        self.feature_map = feature_map
        self.channels_last = channels_last
        # (x / 255 - mean) / std as one multiplication and one addition. Not persistent: the constants come from the
        # network's code, so they are not part of a checkpoint's weights.
        scale = torch.tensor([1 / (255 * s) for s in self.std]).view(1, 3, 1, 1)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)]).view(1, 3, 1, 1)
        self.register_buffer("pixel_scale", scale, persistent=False)
        self.register_buffer("pixel_shift", shift, persistent=False)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Return features_BD, or features_BTD, in float32 also under autocast (float64 stays float64).

        Args:
            images_B3HW: uint8 pixels, 0 to 255, which are normalised here; or floating-point pixels that are already
                normalised. A batch of bytes is a quarter of the memory to copy to the device.

        Raises:
            ValueError: the network gives no feature map, but should, or has another number of features.
        """
        if images_B3HW.dtype == torch.uint8:
            images_B3HW = images_B3HW.to(self.pixel_scale.dtype).mul_(self.pixel_scale).add_(self.pixel_shift)
        features = cast(Tensor, self.network(images_B3HW))
        if features.dim() == 4:
            features = features.flatten(1, 2) if self.channels_last else features.flatten(2).transpose(1, 2)
        if features.dim() != 3 and self.feature_map:
            raise ValueError(f"got {self.name!r}, which gives no feature map; valid with this head: another backbone")
        if features.dim() == 3 and not self.feature_map:
            features = features.mean(1)
        if features.shape[-1] != self.num_features:
            raise ValueError(
                f"got {self.name!r}, whose features have the shape {tuple(features.shape)}; valid: {self.num_features} "
                "features"
            )
        # Autocast gives features in half precision, in which the sums over D of the kernels would lose their digits.
        return features.to(torch.promote_types(features.dtype, torch.float32))
