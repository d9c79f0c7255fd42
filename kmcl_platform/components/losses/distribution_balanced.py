"""`distribution_balanced`: the distribution-balanced loss for rare and frequent labels (arXiv 2007.09654)."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from kmcl_platform.plugins import Loss, register

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


@register("distribution_balanced")
class DistributionBalanced(Loss):
    """timm's `DistributionBalancedLoss`: rare labels count more, and their many negative images less.

    It counts the labels of the training split. The names of the options are timm's, after the paper's symbols.
    """

    requires: ClassVar[str] = "timm>=1.0.31"
    map_alpha: float = Field(default=0.1, ge=0, le=10)
    """α: smallest weight of an element."""
    map_beta: float = Field(default=10.0, ge=0, le=100)
    """β: how fast the weight rises with the share of a label in an image's chance to be drawn."""
    map_mu: float = Field(default=0.2, ge=0, le=1)
    """μ: the share at which the weight is in the middle of its range."""
    negative_scale: float = Field(default=2.0, gt=0, le=20)
    """λ: negative logits are multiplied by this, and their loss is divided by it."""
    bias_share: float = Field(default=0.05, ge=0, le=1)
    """κ: share of a label's log odds in the training split by which its logits are shifted."""
    gamma: float = Field(default=2.0, ge=0, le=16)
    """Focusing exponent; 0: none."""

    def for_labels(self, positives_K: "Sequence[int]", num_images: int) -> "Callable[[Tensor, Tensor, Tensor], Tensor]":
        """See `Loss`."""
        from timm.loss.distribution_balanced_loss import DistributionBalancedLoss

        loss = DistributionBalancedLoss(
            positives_K,
            num_images,
            map_alpha=self.map_alpha,
            map_beta=self.map_beta,
            map_mu=self.map_mu,
            neg_scale=self.negative_scale,
            init_bias=self.bias_share,
            focal_gamma=self.gamma,
            reduction="none",
        )

        def losses(logits_BK: "Tensor", positive_BK: "Tensor", known_BK: "Tensor") -> "Tensor":
            elements_BK: Tensor = loss.to(logits_BK.device)(logits_BK, positive_BK)
            return (elements_BK * known_BK).sum(1)

        return losses
