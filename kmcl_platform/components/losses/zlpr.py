"""`zlpr`: the zero-bounded log-sum-exp and pairwise rank-based loss (arXiv 2208.02955)."""

from typing import TYPE_CHECKING

from kmcl_platform.plugins import Loss, register

if TYPE_CHECKING:
    from torch import Tensor


@register("zlpr")
class Zlpr(Loss):
    """Every positive logit above 0 and above every negative one; the sum does not grow with the number of classes.

    The terms are those of timm's `ZlprLoss`, which has no place for unknown labels; here they are left out.
    """

    def loss(self, logits_BK: "Tensor", positive_BK: "Tensor", known_BK: "Tensor") -> "Tensor":
        import torch

        nothing = float("-inf")
        zero_B1 = logits_BK.new_zeros((len(logits_BK), 1))
        negative_BK = logits_BK.masked_fill(positive_BK | ~known_BK, nothing)
        missing_BK = (-logits_BK).masked_fill(~positive_BK, nothing)
        return sum(torch.cat([terms_BK, zero_B1], 1).logsumexp(1) for terms_BK in (negative_BK, missing_BK))  # type: ignore[return-value]
