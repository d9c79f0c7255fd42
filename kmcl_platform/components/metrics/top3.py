"""`top3/CP` to `top3/OF1`: precision and recall of the 3 labels of each image with the highest scores."""

from typing import TYPE_CHECKING, ClassVar

from kmcl_platform.plugins import Metric, register

if TYPE_CHECKING:
    from torch import Tensor


@register("top3")
class Top3(Metric):
    """As the metrics of `threshold`, with 3 labels predicted for each image."""

    names: ClassVar[tuple[str, ...]] = tuple(f"top3/{name}" for name in ("CP", "CR", "CF1", "OP", "OR", "OF1"))

    def measure_all(self, scores_NK: "Tensor", targets_NK: "Tensor") -> dict[str, float]:
        from kmcl_platform.method.metrics import top_metrics

        return {f"top3/{name}": value for name, value in top_metrics(scores_NK, targets_NK).items()}
