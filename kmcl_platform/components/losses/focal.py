"""`focal`: the focal loss of each label (Lin et al., 2017), without weights for the classes."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from kmcl_platform.plugins import Loss, register

if TYPE_CHECKING:
    from torch import Tensor


@register("focal")
class Focal(Loss):
    """-(1 - p)^γ · log p, where p is the probability of the element's label."""

    linear_in_labels: ClassVar[bool] = True
    gamma: float = Field(default=2.0, ge=0, le=16)
    """Focusing exponent γ; 0 is binary cross-entropy."""

    def loss(self, logits_BK: "Tensor", positive_BK: "Tensor", known_BK: "Tensor") -> "Tensor":
        from torch.nn.functional import logsigmoid

        log_BK = logsigmoid(logits_BK.where(positive_BK, -logits_BK))
        # The probability of the opposite label, by the logistic function of the negative argument: exact near 1 and 0.
        opposite_BK = (-logits_BK).where(positive_BK, logits_BK).sigmoid()
        return -(opposite_BK**self.gamma * log_BK * known_BK).sum(1)
