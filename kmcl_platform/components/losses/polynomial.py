"""`polynomial`: binary cross-entropy with another first coefficient of its series (PolyLoss, arXiv 2204.12511)."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from kmcl_platform.plugins import Loss, register

if TYPE_CHECKING:
    from torch import Tensor


@register("polynomial")
class Polynomial(Loss):
    """timm's `PolyBinaryCrossEntropy`: focal or plain cross-entropy plus ε · (1 - p)^(γ + 1)."""

    requires: ClassVar[str] = "timm>=1.0.31"
    linear_in_labels: ClassVar[bool] = True
    epsilon: float = Field(default=2.0, ge=-1, le=10)
    """ε, the change of the first coefficient."""
    gamma: float = Field(default=0.0, ge=0, le=16)
    """Focusing exponent γ; 0: plain cross-entropy."""

    def loss(self, logits_BK: "Tensor", positive_BK: "Tensor", known_BK: "Tensor") -> "Tensor":
        from timm.loss.poly_loss import PolyBinaryCrossEntropy

        elements_BK = PolyBinaryCrossEntropy(self.epsilon, self.gamma, reduction="none")(logits_BK, positive_BK.float())
        return (elements_BK * known_BK).sum(1)
