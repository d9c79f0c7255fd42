"""`ml_decoder`: timm's ML-Decoder (Ridnik et al., 2021, arXiv 2111.12933)."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from kmcl_platform.plugins import Head, register

if TYPE_CHECKING:
    from torch import nn


@register("ml_decoder")
class MlDecoder(Head):
    """A transformer layer, in which fixed queries attend to the places of the feature map.

    Each query decides about a group of classes. With at least as many groups as classes, each class has its own query,
    and so its own attention.
    """

    takes_feature_map: ClassVar[bool] = True
    groups: int = Field(default=100, ge=1, le=512)
    """Number of queries. More than the number of classes count as that number."""
    width: int = Field(default=768, ge=8, le=8192, multiple_of=8)
    """Width of the transformer layer, a multiple of its 8 attention heads."""

    def build(self, num_features: int, num_classes: int) -> "nn.Module":
        from timm.layers.ml_decoder import MLDecoder

        network = MLDecoder(
            num_classes=num_classes,
            num_of_groups=self.groups,
            decoder_embedding=self.width,
            initial_num_features=num_features,
        )
        # torch's stack of layers calls each layer with arguments that timm's layer does not have (since torch 2.0). The
        # stack has one layer, so the layer itself computes the same.
        (network.decoder,) = network.decoder.layers
        return network
