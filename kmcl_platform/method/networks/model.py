"""The network: backbone, reduction of its features if the kernels want one, kernel-mixture head.

Shape suffixes: B batch, D features that the head sees, 3HW colour channels, height and width of an image.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kmcl_platform.method.kernels.mixture_head import KernelMixture, KernelMixtureHead
from kmcl_platform.method.networks.backbone import Backbone


class ModelOutput(NamedTuple):
    """What the loss needs: the features that the kernels live among, and the mixture.

    The scores of a prediction are sigmoid(mixture.logits_BK).
    """

    features_BD: Tensor
    mixture: KernelMixture


class KmclModel(nn.Module):
    """Images to features and kernel mixture (METHOD.md, Head).

    Args:
        backbone: images to features.
        head: features to kernel mixture. Anisotropic kernels may want fewer features than the backbone gives: then a
            linear map, learned with the rest, reduces them, and all that follows sees the reduced features.

    Raises:
        ValueError: the head does not take as many features as the backbone gives, and its kernels want no reduction.
    """

    def __init__(self, backbone: Backbone, head: KernelMixtureHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.reduction: nn.Linear | None = None
        if head.kernel_size > 1:
            self.reduction = nn.Linear(backbone.num_features, head.num_features)
        elif head.num_features != backbone.num_features:
            raise ValueError(
                f"head: got num_features {head.num_features}; wanted the backbone's {backbone.num_features}"
            )
        self.head = head

    def forward(self, images_B3HW: Tensor) -> ModelOutput:
        """Run the backbone as the caller's autocast says, and the head in float32 (float64 is kept)."""
        features_BD: Tensor = self.backbone(images_B3HW)
        with torch.autocast(features_BD.device.type, enabled=False):
            if self.reduction is not None:
                features_BD = self.reduction(features_BD)
            mixture: KernelMixture = self.head(features_BD)
        return ModelOutput(features_BD, mixture)
