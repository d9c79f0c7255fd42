"""`kmcl`: a classification loss, the reconstruction loss and the contrastive loss (docs/method.md)."""

from typing import ClassVar

from kmcl_platform.plugins import Loss, register


@register("kmcl")
class Kmcl(Loss):
    """All three terms. Their settings are fields of `loss`; `loss.classification` is the first of them."""

    kernel_terms: ClassVar[bool] = True
