"""`bce`: binary cross-entropy of each label."""

from typing import TYPE_CHECKING, ClassVar

from kmcl_platform.plugins import Loss, register

if TYPE_CHECKING:
    from kmcl_platform.config.loss_config import LossConfig
    from kmcl_platform.method.losses.classification import ClassificationLoss


@register("bce")
class BinaryCrossEntropy(Loss):
    """Binary cross-entropy, which has no settings but `loss.label_smoothing`."""

    linear_in_labels: ClassVar[bool] = True

    def classification(self, settings: "LossConfig") -> "ClassificationLoss":
        """The loss with the settings of a trial."""
        from kmcl_platform.method.losses.classification import Classification

        return Classification(
            plain=True,
            gamma_positive=0.0,
            gamma_negative=0.0,
            clip=0.0,
            detach_focusing=True,
            label_smoothing=settings.label_smoothing,
        )
