"""The objective: its three terms, their weighted sum, and the batch over all workers (docs/method.md)."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.method.losses.asymmetric import (
        asymmetric_loss as asymmetric_loss,
    )
    from kmcl_platform.method.losses.contrastive import (
        contrastive_loss as contrastive_loss,
    )
    from kmcl_platform.method.losses.global_batch import (
        BatchGather as BatchGather,
        GlobalBatch as GlobalBatch,
        local_batch as local_batch,
    )
    from kmcl_platform.method.losses.kmcl import (
        FORMULATIONS as FORMULATIONS,
        OBJECTIVES as OBJECTIVES,
        KmclLoss as KmclLoss,
    )
    from kmcl_platform.method.losses.loss_parts import (
        LossParts as LossParts,
        TermFactors as TermFactors,
    )
    from kmcl_platform.method.losses.reconstruction import (
        reconstruction_loss as reconstruction_loss,
        released_reconstruction_loss as released_reconstruction_loss,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
