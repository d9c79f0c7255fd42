"""`CP`, `CR`, `CF1`, `OP`, `OR` and `OF1`: precision and recall of the labels whose score is above 0.5."""

from typing import TYPE_CHECKING, ClassVar

from kmcl_platform.plugins import Metric, register

if TYPE_CHECKING:
    from torch import Tensor


@register("threshold")
class Threshold(Metric):
    """Means over the classes (C…), and over the labels of all classes together (O…)."""

    names: ClassVar[tuple[str, ...]] = ("CP", "CR", "CF1", "OP", "OR", "OF1")

    def measure_all(self, scores_NK: "Tensor", targets_NK: "Tensor") -> dict[str, float]:
        from kmcl_platform.method.metrics import threshold_metrics

        return threshold_metrics(scores_NK, targets_NK)
