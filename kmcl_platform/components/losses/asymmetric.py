"""`asymmetric`: the asymmetric loss (arXiv 2009.14119), the classification of KMCL."""

from typing import TYPE_CHECKING, ClassVar

from kmcl_platform.plugins import Loss, register

if TYPE_CHECKING:
    from kmcl_platform.config.loss_config import LossConfig
    from kmcl_platform.method.losses.classification import ClassificationLoss


@register("asymmetric")
class Asymmetric(Loss):
    """The asymmetric loss. Its settings are fields of `loss`: both exponents, the margin, `detach_focusing`."""

    linear_in_labels: ClassVar[bool] = True

    def classification(self, settings: "LossConfig") -> "ClassificationLoss":
        """The loss with the settings of a trial."""
        from kmcl_platform.method.losses.classification import Classification

        return Classification(
            plain=False,
            gamma_positive=settings.gamma_positive,
            gamma_negative=settings.gamma_negative,
            clip=settings.clip,
            detach_focusing=settings.detach_focusing,
            label_smoothing=settings.label_smoothing,
        )
