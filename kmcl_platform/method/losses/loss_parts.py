"""The result of the objective."""

from typing import NamedTuple

from torch import Tensor


class LossParts(NamedTuple):
    """The loss that a training step minimises, and its terms without their weights; all 0-dimensional.

    Attributes:
        total: the weighted sum of the terms, the only part with a gradient.
        asymmetric: the asymmetric loss; binary cross-entropy for the objective `bce`.
        reconstruction: the reconstruction loss; 0 for objectives without kernels.
        contrastive: the contrastive loss; 0 for objectives without kernels.
    """

    total: Tensor
    asymmetric: Tensor
    reconstruction: Tensor
    contrastive: Tensor
