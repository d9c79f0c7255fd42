"""The network: a backbone, an optional reduction of its features, and the kernel-mixture head.

Shape suffixes: B batch, D features that the head receives, 3HW colour channels, height and width of an image.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kmcl_platform.method.kernels.mixture_head import KernelMixture, KernelMixtureHead
from kmcl_platform.method.networks.backbone import Backbone


class ModelOutput(NamedTuple):
    """The inputs of the loss: the features with which kernels are compared, and the mixture of them.

    The features are those that the head received, normalised if the head normalises them for its kernels.

    The scores of a prediction are sigmoid(mixture.logits_BK).
    """

    features_BD: Tensor
    mixture: KernelMixture


class KmclModel(nn.Module):
    """The whole network: from images to features and kernel mixture (docs/method.md, Head).

    Args:
        backbone: from images to features.
        head: from features to the kernel mixture. For kernels with R = D a learned linear map first reduces the
            features to the number that the head takes. The loss then uses the reduced features.

    Raises:
        ValueError: the kernels have R = 1, and the head takes another number of features than the backbone gives.
    """

    def __init__(self, backbone: Backbone, head: KernelMixtureHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.reduction: nn.Linear | None = None
        if head.kernel_size > 1:
            # The means alone have K·C·D² weights if R = D: 335 million for D = 2048 and K = 80. Hence the smaller D.
            self.reduction = nn.Linear(backbone.num_features, head.num_features)
        elif head.num_features != backbone.num_features:
            raise ValueError(
                f"head: got num_features {head.num_features}; valid: the backbone's {backbone.num_features}"
            )
        self.head = head

    def forward(self, images_B3HW: Tensor) -> ModelOutput:
        """Run the backbone under the caller's autocast, and the head in float32 (float64 inputs keep float64).

        Args:
            images_B3HW: as for `Backbone.forward`.
        """
        features_BD: Tensor = self.backbone(images_B3HW)
        # The released recipe computes the mixture and the loss in float32. In half precision the variance 1 + 1e-7
        # would become 1.
        with torch.autocast(features_BD.device.type, enabled=False):
            if self.reduction is not None:
                features_BD = self.reduction(features_BD)
            mixture: KernelMixture = self.head(features_BD)
            # The head computes them too. To do it twice costs less than 0.1 % of a step, and the head's own result
            # stays one mixture.
            return ModelOutput(self.head.kernel_features(features_BD), mixture)
