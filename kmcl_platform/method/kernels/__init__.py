"""Exponential kernels: the head that makes them, their values, similarities and uncertainty (docs/method.md)."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.method.kernels.mixture_head import (
        KERNELS as KERNELS,
        KernelMixture as KernelMixture,
        KernelMixtureHead as KernelMixtureHead,
    )
    from kmcl_platform.method.kernels.rows import (
        Rows as Rows,
    )
    from kmcl_platform.method.kernels.similarity import (
        MixtureSimilarity as MixtureSimilarity,
        log_norms as log_norms,
    )
    from kmcl_platform.method.kernels.uncertainty import (
        label_uncertainty as label_uncertainty,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
