"""What the study compares: arms, conditions of the labels, and what a search may change in each arm."""

from dataclasses import dataclass

from kmcl_platform.config.trial_config import Scalar

Values = dict[str, Scalar]
Range = tuple[float, float, bool]
"""Low, high, and whether the logarithm is searched."""

REFERENCE = "asymmetric"
"""The arm that all others are compared with."""


@dataclass(frozen=True)
class Condition:
    """How much of the training split's labels is left.

    Attributes:
        pictures: share of the training pictures.
        labels: share of the positive labels of those; the others count as negative.
        batch_size: smaller for fewer pictures, so that a training has enough steps.
    """

    pictures: float = 1.0
    labels: float = 1.0
    batch_size: int = 128


CONDITIONS: dict[str, Condition] = {
    "all labels": Condition(),
    "10 % of the pictures": Condition(pictures=0.1, batch_size=32),
    "25 % of the pictures": Condition(pictures=0.25, batch_size=64),
    "half of the labels": Condition(labels=0.5),
}

EVERY: dict[str, Range] = {"optim.lr": (3e-4, 3e-2, True), "optim.weight_decay": (1e-4, 0.3, True)}
FOCUSED: dict[str, Range] = EVERY | {"loss.gamma_negative": (0.0, 4.0, False)}
WEIGHT: Range = (0.01, 1.0, True)
TEMPERATURE: dict[str, Range] = {"loss.temperature": (0.05, 1.0, True)}
RECONSTRUCTION: dict[str, Range] = {"loss.reconstruction_weight": WEIGHT}
CONTRASTIVE: dict[str, Range] = {"loss.contrastive_weight": WEIGHT} | TEMPERATURE
# The released kernel terms are small beside their classification, which is a sum over the samples.
RELEASED_WEIGHTS: dict[str, Range] = {
    "loss.reconstruction_weight": (0.1, 10.0, True),
    "loss.contrastive_weight": (0.1, 10.0, True),
}

ARMS: dict[str, tuple[Values, dict[str, Range]]] = {
    "bce": ({"loss.objective": "bce"}, EVERY),
    REFERENCE: ({"loss.objective": "asymmetric"}, FOCUSED),
    "kmcl, released": ({"loss.formulation": "released"}, FOCUSED | RELEASED_WEIGHTS | TEMPERATURE),
    "kmcl": ({}, FOCUSED | RECONSTRUCTION | CONTRASTIVE),
    "kmcl, 3 kernels": ({"model.kernels_per_class": 3}, FOCUSED | RECONSTRUCTION | CONTRASTIVE),
    "reconstruction alone": ({"loss.contrastive_weight": 0.0}, FOCUSED | RECONSTRUCTION),
    "contrastive alone": ({"loss.reconstruction_weight": 0.0}, FOCUSED | CONTRASTIVE),
}
"""For each arm, the values that make it, and the ranges of its search."""

FROZEN: Values = {
    "model.backbone": "tf_efficientnet_lite0",
    "model.backbone_mode": "frozen",
    "model.projection_width": 256,
    "optim.optimizer": "adamw",
    "optim.lr": 3e-3,
    "optim.weight_decay": 1e-2,
    "optim.ema_decay": 0.0,
    "num_epochs": 20,
}
"""The recipe on a frozen backbone. The kernel terms can only shape features that move, hence the hidden layer."""

FINE_TUNED: Values = {
    "model.backbone": "test_resnet",
    "data.image_size": 32,
    "optim.optimizer": "adamw",
    "optim.lr": 1e-2,
    "optim.ema_decay": 0.99,
    "num_epochs": 6,
}
"""The recipe of the embedded digits, whose small network is trained from its start."""

SEEDS = (101, 102, 103, 104, 105)
"""Of the trainings that are scored on the test split. The search has another one."""
