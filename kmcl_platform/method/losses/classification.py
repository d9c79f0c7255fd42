"""The classification loss of an objective: the asymmetric loss or binary cross-entropy, with label smoothing.

Shape suffixes: B batch, K classes.
"""

from typing import NamedTuple

from torch import Tensor

from kmcl_platform.method.losses.asymmetric import asymmetric_loss
from kmcl_platform.method.losses.binary_cross_entropy import binary_cross_entropy


class Classification(NamedTuple):
    """The classification loss and its settings, as `KmclLoss` has them.

    Attributes:
        plain: binary cross-entropy; the focusing exponents and the margin are then not used.
        gamma_positive: focusing exponent of positive elements, at least 0.
        gamma_negative: focusing exponent of negative elements, at least 0.
        clip: probability margin in [0, 1).
        detach_focusing: the focusing weights receive no gradient.
        label_smoothing: s in [0, 1). A label y becomes y·(1 - s) + s/2.
    """

    plain: bool
    gamma_positive: float
    gamma_negative: float
    clip: float
    detach_focusing: bool
    label_smoothing: float

    def __call__(self, logits_BK: Tensor, positive_BK: Tensor, known_BK: Tensor) -> Tensor:
        """The loss, summed over samples and classes; 0-dimensional.

        Args:
            logits_BK: z.
            positive_BK: bool, known positive elements.
            known_BK: bool, elements that count.
        """
        loss = self._loss(logits_BK, positive_BK, known_BK)
        if not self.label_smoothing:
            return loss
        # Both losses are y·L₊ + (1 - y)·L₋, linear in the label. With y·(1 - s) + s/2 in place of y, this is the loss
        # of the labels with the share 1 - s/2 and that of the opposite labels with s/2. Unknown elements stay out.
        opposite = self._loss(logits_BK, positive_BK.logical_not(), known_BK)
        return (1 - self.label_smoothing / 2) * loss + self.label_smoothing / 2 * opposite

    def _loss(self, logits_BK: Tensor, positive_BK: Tensor, known_BK: Tensor) -> Tensor:
        if self.plain:
            return binary_cross_entropy(logits_BK, positive_BK, known_BK)
        return asymmetric_loss(
            logits_BK,
            positive_BK,
            known_BK,
            gamma_positive=self.gamma_positive,
            gamma_negative=self.gamma_negative,
            clip=self.clip,
            detach_focusing=self.detach_focusing,
        )
