"""The network: a backbone, an optional projection and reduction of its features, and the head.

Shape suffixes: B batch, T places of a feature map, D features that the head receives, 3HW colour channels, height and
width of an image.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kmcl_platform.method.kernels.mixture_head import KernelMixture, KernelMixtureHead
from kmcl_platform.method.networks.backbone import Backbone
from kmcl_platform.method.networks.logit_head import LogitHead


class ModelOutput(NamedTuple):
    """The inputs of the loss: the features with which kernels are compared, and the mixture of them.

    The features are those that the head received, normalised if the head normalises them for its kernels. Of a feature
    map they are the mean over its places.

    The scores of a prediction are sigmoid(mixture.logits_BK).
    """

    features_BD: Tensor
    mixture: KernelMixture


class Projection(nn.Sequential):
    """A hidden layer between features and head: linear map, layer normalisation, ReLU.

    Layer normalisation, because it does not depend on the batch: 1, 2 and 4 workers compute the same. ReLU, because the
    head's initialisation is made for features that are not negative, as those of most pooled backbones.

    Args:
        num_features: of the input.
        width: of the output, at least 1.
    """

    def __init__(self, num_features: int, width: int) -> None:
        super().__init__(nn.Linear(num_features, width), nn.LayerNorm(width), nn.ReLU())


class KmclModel(nn.Module):
    """The whole network: from images to features and kernel mixture (docs/method.md, Head).

    Args:
        backbone: from images to features; or the number of features that a model without a backbone takes instead of
            images. The names of all other weights are the same in both.
        head: from features to the kernel mixture. For the kernels of a `KernelMixtureHead` with R = D a learned linear
            map first reduces the features to the number that the head takes. The loss then uses the reduced features.
        projection_width: the features pass through a `Projection` of this width first. None: they do not.

    Attributes:
        backbone: None: the model takes features.
        num_inputs: the number of features of the backbone, or that the model takes.

    Raises:
        ValueError: the kernels have R = 1, and the head takes another number of features than it is given.
    """

    def __init__(
        self,
        backbone: Backbone | int,
        head: KernelMixtureHead | LogitHead,
        *,
        projection_width: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = None if isinstance(backbone, int) else backbone
        num_features = self.num_inputs = backbone if isinstance(backbone, int) else backbone.num_features
        self.projection: Projection | None = None
        if projection_width is not None:
            self.projection = Projection(num_features, projection_width)
            num_features = projection_width
        self.reduction: nn.Linear | None = None
        if head.kernel_size > 1:
            # The means alone have K·C·D² weights if R = D: 335 million for D = 2048 and K = 80. Hence the smaller D.
            self.reduction = nn.Linear(num_features, head.num_features)
        elif head.num_features != num_features:
            raise ValueError(f"head: got num_features {head.num_features}; valid: the backbone's {num_features}")
        self.head = head

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Run the backbone under the caller's autocast, and the rest in float32 (float64 inputs keep float64).

        Args:
            inputs: images_B3HW as for `Backbone.forward`; features_BD for a model without a backbone.
        """
        # features_BTD, if the head takes the feature map.
        features_BD: Tensor = inputs if self.backbone is None else self.backbone(inputs)
        # The released recipe computes the mixture and the loss in float32. In half precision the variance 1 + 1e-7
        # would become 1.
        with torch.autocast(features_BD.device.type, enabled=False):
            if self.projection is not None:
                features_BD = self.projection(features_BD)
            if self.reduction is not None:
                features_BD = self.reduction(features_BD)
            mixture: KernelMixture = self.head(features_BD)
            # The head computes them too. To do it twice costs less than 0.1 % of a step, and the head's own result
            # stays one mixture.
            return ModelOutput(self.head.kernel_features(features_BD), mixture)
