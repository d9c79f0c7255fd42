"""Exponential kernels: the head that makes them, their values, similarities and uncertainty (docs/method.md)."""

from kmcl_platform.method.kernels.log_kernel import log_kernel
from kmcl_platform.method.kernels.mixture_head import KERNELS, KernelMixture, KernelMixtureHead
from kmcl_platform.method.kernels.rows import Rows
from kmcl_platform.method.kernels.similarity import MixtureSimilarity, log_norms
from kmcl_platform.method.kernels.uncertainty import label_uncertainty

__all__ = [
    "KERNELS",
    "KernelMixture",
    "KernelMixtureHead",
    "MixtureSimilarity",
    "Rows",
    "label_uncertainty",
    "log_kernel",
    "log_norms",
]
