"""The mathematics of KMCL, in torch and timm alone: kernels, losses, networks, metrics (docs/method.md)."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.method.kernels.log_kernel import (
        log_kernel as log_kernel,
    )
    from kmcl_platform.method.kernels.mixture_head import (
        KernelMixture as KernelMixture,
        KernelMixtureHead as KernelMixtureHead,
    )
    from kmcl_platform.method.kernels.uncertainty import (
        label_uncertainty as label_uncertainty,
    )
    from kmcl_platform.method.losses.global_batch import (
        BatchGather as BatchGather,
    )
    from kmcl_platform.method.losses.kmcl import (
        KmclLoss as KmclLoss,
    )
    from kmcl_platform.method.metrics import (
        average_precision_per_class as average_precision_per_class,
    )
    from kmcl_platform.method.networks.backbone import (
        Backbone as Backbone,
    )
    from kmcl_platform.method.networks.model import (
        KmclModel as KmclModel,
    )
    from kmcl_platform.method.networks.pretrained import (
        HubError as HubError,
        WeightsFileError as WeightsFileError,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
