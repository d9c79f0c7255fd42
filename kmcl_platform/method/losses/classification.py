"""The classification loss of an objective: the asymmetric loss, binary cross-entropy or another, with label smoothing.

Shape suffixes: B batch, K classes.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from kmcl_platform.method.losses.asymmetric import asymmetric_loss
from kmcl_platform.method.losses.binary_cross_entropy import binary_cross_entropy


class ClassificationLoss(Protocol):
    """What computes the classification loss of a batch, summed over samples and classes; 0-dimensional."""

    def __call__(self, logits_BK: Tensor, positive_BK: Tensor, known_BK: Tensor, /) -> Tensor: ...


class LossShapeError(ValueError):
    """A loss of a user's own returned something that is not the loss of each sample."""


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


class SumOfSamples:
    """The classification loss that a function of each sample gives.

    Args:
        loss: from logits_BK, positive_BK and known_BK to losses_B, differentiable in the logits.
        name: of the loss, for messages.
        label_smoothing: s in [0, 1), for losses that are linear in the label. A label y becomes y·(1 - s) + s/2.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor, Tensor], Tensor], name: str, label_smoothing: float) -> None:
        self.loss, self.name, self.label_smoothing = loss, name, label_smoothing

    def __call__(self, logits_BK: Tensor, positive_BK: Tensor, known_BK: Tensor) -> Tensor:
        """The loss, summed over samples and classes; 0-dimensional.

        Raises:
            LossShapeError: the function's result has another shape or type, or no gradient.
        """
        losses_B = self._losses(logits_BK, positive_BK, known_BK)
        self._check(losses_B, logits_BK)
        if self.label_smoothing:
            # As in `Classification`.
            opposite_B = self._losses(logits_BK, positive_BK.logical_not(), known_BK)
            losses_B = (1 - self.label_smoothing / 2) * losses_B + self.label_smoothing / 2 * opposite_B
        return losses_B.sum()

    def _losses(self, logits_BK: Tensor, positive_BK: Tensor, known_BK: Tensor) -> Tensor:
        # Copies: other terms use the tensors too, and the function may change its arguments.
        return self.loss(logits_BK.clone(), positive_BK & known_BK, known_BK.clone())

    def _check(self, losses_B: object, logits_BK: Tensor) -> None:
        wanted = f"valid: a floating-point tensor of shape ({len(logits_BK)},), one loss for each image"
        if not isinstance(losses_B, Tensor):
            raise LossShapeError(f"{self.name}: got a result of type {type(losses_B).__name__}; {wanted}")
        if losses_B.shape != logits_BK.shape[:1] or not losses_B.is_floating_point():
            got = f"{str(losses_B.dtype).removeprefix('torch.')} of shape {tuple(losses_B.shape)}"
            raise LossShapeError(f"{self.name}: got a result of {got}; {wanted}")
        if torch.is_grad_enabled() and logits_BK.requires_grad and not losses_B.requires_grad:
            raise LossShapeError(
                f"{self.name}: got a result without gradient; valid: one that torch can differentiate by the logits"
            )
