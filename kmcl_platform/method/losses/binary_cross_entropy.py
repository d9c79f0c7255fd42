"""Plain binary cross-entropy: the baseline without kernels and without focusing.

Shape suffixes: B batch, K classes.
"""

from torch import Tensor
from torch.nn import functional


def binary_cross_entropy(logits_BK: Tensor, positive_BK: Tensor, known_BK: Tensor) -> Tensor:
    """Plain binary cross-entropy of the logits, summed over samples and classes (docs/method.md, Total).

    Args:
        logits_BK: z.
        positive_BK: bool, known positive elements.
        known_BK: bool, elements that count.

    Returns:
        0-dimensional, at least 0. Exact for any finite logit: there is no clamp.
    """
    target_BK = positive_BK.to(logits_BK.dtype)
    weight_BK = known_BK.to(logits_BK.dtype)
    return functional.binary_cross_entropy_with_logits(logits_BK, target_BK, weight_BK, reduction="sum")
