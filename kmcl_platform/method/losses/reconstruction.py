"""The reconstruction loss: the share of a sample's kernel mass that lies in its positive classes.

Shape suffixes: B batch, D features, K classes.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from kmcl_platform.method.kernels.log_kernel import log_kernel
from kmcl_platform.method.kernels.mixture_head import KernelMixture

_SMALLEST_KERNEL = 1.17549e-38
_SMALLEST_RATIO = 1e-7
_LEFT_OUT = -1e30
"""The logarithm of what a sum leaves out; finite, so that times a share of 0 it is 0."""


def reconstruction_loss(features_BD: Tensor, mixture: KernelMixture, positive_BK: Tensor, known_BK: Tensor) -> Tensor:
    """Sum of -log(Σ_{k: y=1} π g / Σ_k π g) over samples with a positive label (METHOD.md, loss 2; corrected).

    Args:
        features_BD: f.
        mixture: kernels of the same samples.
        positive_BK: bool, known positive elements.
        known_BK: bool, elements that count.

    Returns:
        0-dimensional, at least 0; 0 with a gradient graph where no sample has a positive label.
    """
    log_terms_BK = functional.logsigmoid(mixture.logits_BK) + log_kernel(features_BD, mixture)
    values_B: Tensor = _LogShares.apply(log_terms_BK, positive_BK, known_BK)
    return values_B.sum()


def released_reconstruction_loss(
    features_BD: Tensor, mixture: KernelMixture, positive_BK: Tensor, known_BK: Tensor
) -> Tensor:
    """The same over all samples with the released code's floors (METHOD.md, formulation).

    Kernels are floored at 1.17549e-38 and the ratio at 1e-7: where all kernels of a sample underflow float32, no
    gradient reaches its means and variances; a sample without a positive label adds the constant -log 1e-7. The floors
    are applied to logarithms, so that products which the released code rounds to zero do not become 0/0.

    Args:
        features_BD: f.
        mixture: kernels of the same samples.
        positive_BK: bool, known positive elements.
        known_BK: bool, elements that count.

    Returns:
        0-dimensional, at least 0.
    """
    log_kernels_BK = log_kernel(features_BD, mixture).clamp(min=math.log(_SMALLEST_KERNEL))
    log_terms_BK = functional.logsigmoid(mixture.logits_BK) + log_kernels_BK
    values_B: Tensor = _LogShares.apply(log_terms_BK, positive_BK, known_BK)
    largest = -math.log(_SMALLEST_RATIO)
    return torch.where(positive_BK.any(1), values_B.clamp(max=largest), largest).sum()


class _LogShares(Function):
    """-log(Σ_{positive} e^t / Σ_{known} e^t) of each sample; 0 for one without a positive element.

    The derivative by t, the difference of two softmaxes, is a by-product of the value, so it is formed with it.
    """

    @staticmethod
    def forward(ctx: Any, log_terms_BK: Tensor, positive_BK: Tensor, known_BK: Tensor) -> Tensor:
        # A sample without a positive element takes all elements into both sums: it adds an exact 0 with a zero
        # derivative, where an empty sum would make NaN.
        labelled_B1 = positive_BK.any(1, keepdim=True)
        summed_2BK = torch.stack((positive_BK, known_BK)).logical_or_(labelled_B1.logical_not_())
        log_share_2BK = torch.where(summed_2BK, log_terms_BK, _LEFT_OUT).log_softmax(2)
        # The two log-softmaxes differ by the value sought, the same for every positive element: their mean is taken.
        gap_BK = log_share_2BK[0] - log_share_2BK[1]
        positive_share_BK, known_share_BK = log_share_2BK.exp_().unbind()
        value_B = gap_BK.mul_(positive_share_BK).sum(1)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(known_share_BK.sub_(positive_share_BK))
        return value_B

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] * grad_B.unsqueeze(1), None, None
