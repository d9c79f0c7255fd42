"""The backbone: a timm network without its classifier.

Shape suffixes: B batch, D features, 3HW colour channels, height and width of an image.
"""

import difflib
from pathlib import Path
from typing import cast

import timm
import torch
from torch import Tensor, nn

from kmcl_platform.method.networks.pretrained import fetch_network, load_network


class Backbone(nn.Module):
    """Any timm network without its classifier: from images to pooled features.

    Args:
        name: a timm model name, with or without a pretrained tag (`resnet50`, `resnet50.a1_in1k`).
        pretrained: start from the weights that timm publishes, from the hub or its local cache.
        pretrained_file: start from the weights in this local file. `pretrained` is then ignored.

    Attributes:
        num_features: D, the width of the pooled output.
        mean: of the red, green and blue channel, for pixel values from 0 to 1.
        std: the standard deviation of each channel, for the same values.

    Raises:
        ValueError: timm has no network of that name. The message lists similar names.
        WeightsFileError: the local file cannot be used.
        HubError: the published weights cannot be fetched.
    """

    num_features: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pixel_scale: Tensor
    pixel_shift: Tensor

    def __init__(self, *, name: str, pretrained: bool, pretrained_file: Path | None = None) -> None:
        super().__init__()
        _check_name(name)
        if pretrained_file is not None:
            self.network = load_network(name, pretrained_file)
        elif pretrained:
            self.network = fetch_network(name)
        else:
            # With `num_classes=0` timm leaves the classifier out: the output of the network is the pooled features.
            self.network = timm.create_model(name, pretrained=False, num_classes=0)
        # Some networks (MobileNetV3) have a hidden layer before the classifier. Its width differs from `num_features`.
        width = getattr(self.network, "head_hidden_size", None) or self.network.num_features
        self.num_features = int(cast(int, width))
        cfg = cast(dict[str, tuple[float, ...]], self.network.pretrained_cfg)
        self.mean = tuple(float(value) for value in cfg["mean"])
        self.std = tuple(float(value) for value in cfg["std"])
        # (x / 255 - mean) / std as one multiplication and one addition. Not persistent: the constants come from timm,
        # so they are not part of a checkpoint's weights.
        scale = torch.tensor([1 / (255 * s) for s in self.std]).view(1, 3, 1, 1)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)]).view(1, 3, 1, 1)
        self.register_buffer("pixel_scale", scale, persistent=False)
        self.register_buffer("pixel_shift", shift, persistent=False)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Return features_BD, in float32 also under autocast (float64 stays float64).

        Args:
            images_B3HW: uint8 pixels, 0 to 255, which are normalised here; or floating-point pixels that are already
                normalised. A batch of bytes is a quarter of the memory to copy to the device.
        """
        if images_B3HW.dtype == torch.uint8:
            images_B3HW = images_B3HW.to(self.pixel_scale.dtype).mul_(self.pixel_scale).add_(self.pixel_shift)
        features_BD = cast(Tensor, self.network(images_B3HW))
        # Autocast gives features in half precision, in which the sums over D of the kernels would lose their digits.
        return features_BD.to(torch.promote_types(features_BD.dtype, torch.float32))


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        hint = f"close names: {', '.join(close)}" if close else "see timm.list_models()"
        raise ValueError(f"name: got {name!r}; valid: a timm model ({hint})")
    # timm.is_model looks only at the part before the dot, so the tag has a check of its own.
    if "." in name:
        tagged = timm.list_models(f"{name.split('.')[0]}.*", include_tags=True)
        if name not in tagged:
            raise ValueError(f"name: got {name!r}; valid: one of the pretrained tags {', '.join(tagged) or 'none'}")
