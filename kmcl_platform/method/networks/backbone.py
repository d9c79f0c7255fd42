"""Backbone: a timm network without its classifier.

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
    """Images to pooled features, by any timm network.

    Args:
        name: a timm model name, with or without a pretrained tag (`resnet50`, `resnet50.a1_in1k`).
        pretrained: start from timm's published weights (from the hub or its local cache).
        pretrained_file: start from the weights in this local file instead, whatever `pretrained` says.

    Attributes:
        num_features: D, the width of the pooled output.
        mean: of the red, green and blue channel, by which pixels are normalised, for values in 0..1.
        std: standard deviation, likewise.

    Raises:
        ValueError: timm has no network of that name; the message lists close ones.
        WeightsFileError, HubError: the pretrained weights cannot be had.
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
            self.network = timm.create_model(name, pretrained=False, num_classes=0)
        # Some networks keep a hidden layer before the classifier, wider than timm's `num_features`.
        width = getattr(self.network, "head_hidden_size", None) or self.network.num_features
        self.num_features = int(cast(int, width))
        cfg = cast(dict[str, tuple[float, ...]], self.network.pretrained_cfg)
        self.mean = tuple(float(value) for value in cfg["mean"])
        self.std = tuple(float(value) for value in cfg["std"])
        # (x / 255 - mean) / std as one multiplication and one addition. No part of the weights: timm knows them.
        scale = torch.tensor([1 / (255 * s) for s in self.std]).view(1, 3, 1, 1)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)]).view(1, 3, 1, 1)
        self.register_buffer("pixel_scale", scale, persistent=False)
        self.register_buffer("pixel_shift", shift, persistent=False)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Return features_BD, in float32 also under autocast (float64 is kept).

        Args:
            images_B3HW: uint8 pixels, which are normalised here, on the network's device: as bytes, a batch is a
                quarter of the work to hand over. Floating-point images are taken as normalised already.
        """
        if images_B3HW.dtype == torch.uint8:
            images_B3HW = images_B3HW.to(self.pixel_scale.dtype).mul_(self.pixel_scale).add_(self.pixel_shift)
        features_BD = cast(Tensor, self.network(images_B3HW))
        return features_BD.to(torch.promote_types(features_BD.dtype, torch.float32))


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        wanted = f"close names: {', '.join(close)}" if close else "see timm.list_models()"
        raise ValueError(f"name: got {name!r}; wanted a timm model ({wanted})")
    if "." in name:
        tagged = timm.list_models(f"{name.split('.')[0]}.*", include_tags=True)
        if name not in tagged:
            raise ValueError(f"name: got {name!r}; wanted one of its pretrained tags: {', '.join(tagged) or 'none'}")
