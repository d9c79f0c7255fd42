"""`Loss`: the base class of losses."""

from typing import TYPE_CHECKING, ClassVar

from kmcl_platform.plugins.component import Component

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from torch import Tensor


class Loss(Component):
    """What a trial minimises: a classification loss alone, or with KMCL's kernel terms.

    A loss of your own has options as fields and the method `loss`. `loss.objective: NAME` trains with it alone, and
    `loss.classification: NAME` with KMCL's kernel terms beside it.

    Attributes:
        kernel_terms: KMCL's reconstruction and contrastive term are added. Only `kmcl` has them.
        linear_in_labels: the loss of an element with label y is y·L₊ + (1 - y)·L₋, whatever the other elements are.
            Only then `loss.label_smoothing` may be above 0.
    """

    kind: ClassVar[str] = "loss"
    package: ClassVar[str] = "losses"
    kernel_terms: ClassVar[bool] = False
    linear_in_labels: ClassVar[bool] = False

    @classmethod
    def find_problem(cls) -> str | None:
        own = (cls.loss, cls.classification, cls.for_labels)
        if cls.kernel_terms or own != (Loss.loss, Loss.classification, Loss.for_labels):
            return None
        return "a class without the method `loss`; valid: a class that has it"

    def classification(self, settings: "Any") -> "Callable[[Tensor, Tensor, Tensor], Tensor] | None":
        """The loss summed over the images of a batch, as a function of the arguments of `loss`.

        None: the sum of `loss`. The platform's own losses whose settings are fields of `loss` give another.

        Args:
            settings: the trial's `LossConfig`.
        """
        return None

    def for_labels(self, positives_K: "Sequence[int]", num_images: int) -> "Callable[[Tensor, Tensor, Tensor], Tensor]":
        """The function `loss` for one training split. Override it if the loss depends on how frequent labels are.

        Args:
            positives_K: number of images with each label.
            num_images: of the split, at least 2.
        """
        return self.loss

    def loss(self, logits_BK: "Tensor", positive_BK: "Tensor", known_BK: "Tensor") -> "Tensor":
        """The loss of each image, shape (B,), differentiable in the logits.

        With several workers, each sees its own images, and the platform takes the mean over all. So a term between
        images of a batch is one between the images of one worker.

        Args:
            logits_BK: z, float32 or float64; the score of an element is sigmoid(z).
            positive_BK: bool, known positive labels.
            known_BK: bool, labels that are known; the others must not count.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `loss`")
