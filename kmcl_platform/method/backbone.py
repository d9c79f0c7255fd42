"""Backbone: a timm network without its classifier.

Shape suffixes: B batch, D features, 3HW colour channels, height and width of an image.
"""

import difflib
from pathlib import Path
from typing import cast

import timm
import torch
from torch import Tensor, nn

from kmcl_platform.method.pretrained import fetch_network, load_network


class Backbone(nn.Module):
    """Images to pooled features, by any timm network.

    Args:
        name: a timm model name, with or without a pretrained tag (`resnet50`, `resnet50.a1_in1k`).
        pretrained: start from timm's published weights (from the hub or its local cache).
        pretrained_file: start from the weights in this local file instead, whatever `pretrained` says.

    Attributes:
        num_features: D, the width of the pooled output.
        mean: per-channel mean that input images are to be normalised with.
        std: per-channel standard deviation that input images are to be normalised with.

    Raises:
        ValueError: timm has no network of that name; the message lists close ones.
        WeightsFileError, HubError: the pretrained weights cannot be had.
    """

    num_features: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

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

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Return features_BD, in float32 also under autocast (float64 is kept)."""
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
