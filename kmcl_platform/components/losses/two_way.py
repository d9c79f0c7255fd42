"""`two_way`: the two-way multi-label loss (Kobayashi, CVPR 2023): hardest elements by image and by class."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from kmcl_platform.plugins import Loss, register

if TYPE_CHECKING:
    from torch import Tensor


@register("two_way")
class TwoWay(Loss):
    """timm's `TwoWayLoss`. Its logits rank labels and are no probabilities; promotion calibrates all scores.

    An unknown label counts as negative: the loss compares sets, and has no place for it.
    """

    requires: ClassVar[str] = "timm>=1.0.31"
    positive_temperature: float = Field(default=4.0, gt=0, le=100)
    """Temperature of the smallest positive logit."""
    negative_temperature: float = Field(default=1.0, gt=0, le=100)
    """Temperature of the largest negative logit."""

    def loss(self, logits_BK: "Tensor", positive_BK: "Tensor", known_BK: "Tensor") -> "Tensor":
        from timm.loss.two_way_loss import TwoWayLoss

        mean: Tensor = TwoWayLoss(self.positive_temperature, self.negative_temperature)(logits_BK, positive_BK)
        # One number for the whole batch, in which every image has the same part.
        return mean.expand(len(logits_BK))
