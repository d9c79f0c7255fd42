"""The objective: its three terms, their weighted sum, and the batch over all workers (docs/method.md)."""

from kmcl_platform.method.losses.asymmetric import asymmetric_loss
from kmcl_platform.method.losses.binary_cross_entropy import binary_cross_entropy
from kmcl_platform.method.losses.contrastive import contrastive_loss
from kmcl_platform.method.losses.global_batch import BatchGather, GlobalBatch, local_batch
from kmcl_platform.method.losses.kmcl import FORMULATIONS, OBJECTIVES, KmclLoss
from kmcl_platform.method.losses.loss_parts import LossParts
from kmcl_platform.method.losses.reconstruction import reconstruction_loss, released_reconstruction_loss

__all__ = [
    "FORMULATIONS",
    "OBJECTIVES",
    "BatchGather",
    "GlobalBatch",
    "KmclLoss",
    "LossParts",
    "asymmetric_loss",
    "binary_cross_entropy",
    "contrastive_loss",
    "local_batch",
    "reconstruction_loss",
    "released_reconstruction_loss",
]
