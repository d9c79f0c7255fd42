"""What a training step waits for most: images, the loss, or the network."""

from typing import Literal, NamedTuple

WAITING = "system/waiting_for_images_percentage"
"""Metric of an epoch: the share of its training time in which a worker waited for images, or decoded them itself."""

LOSS = "system/loss_percentage"
"""Metric of an epoch: the share of its training time that the loss takes, with its gradient to the features. It is
measured at the epoch's last step."""

GPU = "system/gpu_utilization_percentage"
"""Metric of an epoch: the share of its time in which the GPU was busy, as its driver says."""

_COUNTS = 0.25
"""Share of a step from which on its wait for images counts. The times of single steps vary by about a tenth."""

_REMEDIES = {
    "images": "more data.loader_processes, data.cache: pixels or a smaller data.image_size help",
    "loss": "fewer model.kernels_per_class or isotropic kernels help",
    "network": "a smaller network, smaller images or model.backbone_mode: frozen help",
}


class StepLimit(NamedTuple):
    """What a step waits for most, and its share of the step, in [0, 1]."""

    what: Literal["images", "loss", "network"]
    share: float

    def describe(self, *, frozen: bool) -> str:
        """A line with what helps.

        Args:
            frozen: the backbone is not trained. Then the features are in memory, and it costs nothing.
        """
        remedy = "" if frozen and self.what != "loss" else f"; {_REMEDIES[self.what]}"
        return f"the {self.what}: {100 * self.share:.0f} % of a step{remedy}"


def find_limit(waiting: float, loss: float) -> StepLimit:
    """Find it. If a step waits for images for less than a quarter of its time, the larger one of the others counts.

    Args:
        waiting: share of a step that it waits for images.
        loss: share of a step that the loss takes.
    """
    if waiting > _COUNTS:
        return StepLimit("images", waiting)
    loss = min(loss, 1 - waiting)
    network = 1 - waiting - loss
    return StepLimit("loss", loss) if loss > network else StepLimit("network", network)
