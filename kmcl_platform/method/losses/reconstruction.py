"""The reconstruction loss: the share of a sample's positive classes in its sum of weighted kernels.

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
"""The released floor of a kernel: the smallest normal number of float32."""

_SMALLEST_RATIO = 1e-7
"""The released floor of the ratio inside the logarithm."""

_LEFT_OUT = -1e30
"""The logarithm of a summand that a sum leaves out. Finite, because -inf times a share of 0 would be NaN."""


def reconstruction_loss(
    features_BD: Tensor,
    mixture: KernelMixture,
    positive_BK: Tensor,
    known_BK: Tensor,
    *,
    kernel_scale: float = 1.0,
) -> Tensor:
    """Sum of -log(Σ_{k: y=1} π g / Σ_k π g) over samples with a positive label, in log space.

    This is the form `corrected` of docs/method.md, Reconstruction loss.

    Args:
        features_BD: f.
        mixture: kernels of the same samples.
        positive_BK: bool, known positive elements.
        known_BK: bool, elements that count.
        kernel_scale: factor of the sum over D in the kernels (`log_kernel`).

    Returns:
        0-dimensional, at least 0. 0, still part of the gradient graph, if no sample has a positive label.
    """
    log_terms_BK = functional.logsigmoid(mixture.logits_BK) + log_kernel(features_BD, mixture, scale=kernel_scale)
    values_B: Tensor = _LogShares.apply(log_terms_BK, positive_BK, known_BK)
    return values_B.sum()


def released_reconstruction_loss(
    features_BD: Tensor, mixture: KernelMixture, positive_BK: Tensor, known_BK: Tensor
) -> Tensor:
    """The same sum over all samples, with the released code's floors (docs/method.md, Corrected and released).

    Kernels are floored at 1.17549e-38 and the ratio at 1e-7. If all kernels of a sample underflow float32, no gradient
    reaches its means and variances. A sample without a positive label adds the constant -log 1e-7. The floors are
    applied to logarithms: where the released code multiplies a floored kernel by a small π, it gets 0 and then 0/0.

    Args:
        features_BD: f.
        mixture: kernels of the same samples.
        positive_BK: bool, known positive elements.
        known_BK: bool, elements that count.

    Returns:
        0-dimensional, at least 0.
    """
    # The clamp has no gradient below the floor, as in the released code: hence no gradient to μ and v there.
    log_kernels_BK = log_kernel(features_BD, mixture).clamp(min=math.log(_SMALLEST_KERNEL))
    log_terms_BK = functional.logsigmoid(mixture.logits_BK) + log_kernels_BK
    values_B: Tensor = _LogShares.apply(log_terms_BK, positive_BK, known_BK)
    # A floor of the ratio is a ceiling of -log(ratio).
    largest = -math.log(_SMALLEST_RATIO)
    return torch.where(positive_BK.any(1), values_B.clamp(max=largest), largest).sum()


class _LogShares(Function):
    """-log(Σ_{positive} e^t / Σ_{known} e^t) of each sample; 0 for a sample without a positive element.

    The derivative by t is softmax_{known}(t) - softmax_{positive}(t). Both softmaxes are needed for the value anyway,
    so the forward pass forms the derivative too.
    """

    @staticmethod
    def forward(ctx: Any, log_terms_BK: Tensor, positive_BK: Tensor, known_BK: Tensor) -> Tensor:
        # A sample without a positive element uses all elements in both sums. Then the value and the derivative are
        # exactly 0; an empty sum would give NaN.
        labelled_B1 = positive_BK.any(1, keepdim=True)
        summed_2BK = torch.stack((positive_BK, known_BK)).logical_or_(labelled_B1.logical_not_())
        log_share_2BK = torch.where(summed_2BK, log_terms_BK, _LEFT_OUT).log_softmax(2)
        # log softmax_{positive} - log softmax_{known} = log Σ_{known} - log Σ_{positive}: the value, the same for every
        # positive element. The mean over the positive shares takes it from all of them.
        gap_BK = log_share_2BK[0] - log_share_2BK[1]
        positive_share_BK, known_share_BK = log_share_2BK.exp_().unbind()
        value_B = gap_BK.mul_(positive_share_BK).sum(1)
        if ctx.needs_input_grad[0]:
            # The derivative of the docstring, written over the shares, which are not needed again.
            ctx.save_for_backward(known_share_BK.sub_(positive_share_BK))
        return value_B

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] * grad_B.unsqueeze(1), None, None
