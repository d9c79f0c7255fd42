"""`hill`: the Hill loss for images whose labels are not complete (arXiv 2112.07368)."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from kmcl_platform.plugins import Loss, register

if TYPE_CHECKING:
    from torch import Tensor


@register("hill")
class Hill(Loss):
    """Negative elements with a high probability count less, because many of them are labels that were forgotten."""

    linear_in_labels: ClassVar[bool] = True
    gamma: float = Field(default=2.0, ge=0, le=16)
    """Focusing exponent γ of positive elements."""
    margin: float = Field(default=1.0, ge=0, le=10)
    """Positive logits are made smaller by this before they are weighted, so that easy ones count longer."""
    peak: float = Field(default=1.5, gt=1, le=10)
    """λ of the negative term (λ - p)·p²."""

    def loss(self, logits_BK: "Tensor", positive_BK: "Tensor", known_BK: "Tensor") -> "Tensor":
        from torch.nn.functional import logsigmoid

        shifted_BK = logits_BK - self.margin
        # 1 - p, by the logistic function of the negative argument, is exact where p is near 1.
        positive_term_BK = -((-shifted_BK).sigmoid() ** self.gamma) * logsigmoid(shifted_BK)
        probability_BK = logits_BK.sigmoid()
        negative_term_BK = (self.peak - probability_BK) * probability_BK**2
        return (positive_term_BK.where(positive_BK, negative_term_BK) * known_BK).sum(1)
