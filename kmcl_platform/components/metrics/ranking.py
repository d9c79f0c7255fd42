"""`mAP` and `macro_AUROC`, which depend on the order of the scores alone."""

from typing import TYPE_CHECKING, ClassVar

from kmcl_platform.plugins import Metric, register

if TYPE_CHECKING:
    from torch import Tensor


@register("ranking")
class Ranking(Metric):
    """Means of the average precision and of the area under the ROC curve, over the classes where they are defined."""

    names: ClassVar[tuple[str, ...]] = ("mAP", "macro_AUROC")

    def measure_all(self, scores_NK: "Tensor", targets_NK: "Tensor") -> dict[str, float]:
        from kmcl_platform.method.metrics import ranking_metrics

        return ranking_metrics(scores_NK, targets_NK)
